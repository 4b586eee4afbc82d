/* What a gating reader says to its producer: the release of what was read, the announcement of a
 * sleep (ABI 4.4, 4.5). Contracts: aqueduct/reader.h. */
#include "compiler.h"

#include "aqueduct/reader.h"
#include "contracts.h"
#include "load.h"
#include "reader_tail.h"

/*@ requires aqd_sound(r);
    assigns r->answered, r->cursor[AQD_CURSOR_CURSOR .. AQD_CURSOR_CURSOR + 3]; exits \false;
    ensures aqd_sound(r); */
bool aqd_reader_release(aqd_reader *r)
{
    /* ORDER(release): Release. We are done with the bytes before it. Pairs with the producer's
     * load-acquire of `cursor`. */
    aqd_store_release(r->cursor + AQD_CURSOR_CURSOR, (uint32_t)r->position);
    /* ORDER(space): SeqCst. Either we see `space_wanted` or the producer sees our cursor. Pairs
     * with its fence of ABI 4.6. */
    aqd_fence_seq_cst();
    uint32_t wanted = aqd_load_relaxed(r->view.ring + AQD_RING_SPACE_WANTED);
    if (wanted == 0 || wanted == r->answered) {
        return false;
    }
    r->answered = wanted;
    return true;
}

/*@ requires aqd_sound(r) && (tail_seen == \null || \valid(tail_seen)) && \separated(r, tail_seen);
    requires \separated(tail_seen, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->tail, r->evidence, *tail_seen, r->cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3]; exits \false;
    ensures aqd_sound(r); */
bool aqd_reader_prepare_sleep(aqd_reader *r, uint32_t mode, uint32_t *tail_seen)
{
    if (r->position != r->tail) {
        return false;
    }
    /* ORDER(sleep): Relaxed, then SeqCst. Either the producer sees `waiting` or we see its new
     * tail. Pairs with its fence of ABI 4.1.5. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, mode | (uint32_t)r->position << 2);
    aqd_fence_seq_cst();
    if (!aqd_reader_refresh(r) || r->position != r->tail) {
        /* ORDER(none): a late zero costs the producer one needless wake. */
        aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, 0);
        return false;
    }
    if (tail_seen) {
        *tail_seen = (uint32_t)r->tail;
    }
    return true;
}

/*@ requires aqd_sound(r);
    assigns r->tail, r->evidence, r->stats, r->cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3],
            r->cursor[AQD_CURSOR_MISSED_WAKES .. AQD_CURSOR_MISSED_WAKES + 3]; exits \false;
    ensures aqd_sound(r); */
void aqd_reader_finish_sleep(aqd_reader *r, bool timed_out)
{
    /* ORDER(none): as in prepare_sleep. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, 0);
    if (aqd_reader_refresh(r) && timed_out && r->position != r->tail) {
        r->stats.missed_wakes++;
        aqd_store_relaxed(r->cursor + AQD_CURSOR_MISSED_WAKES, r->stats.missed_wakes);
    }
}

/*@ requires aqd_sound(r);
    assigns \nothing; exits \false; */
bool aqd_reader_ready(const aqd_reader *r)
{
    /* ORDER(none): only a hint; reading loads both again, with Acquire. */
    return r->position != r->tail || aqd_load_relaxed(r->view.ring + AQD_RING_TAIL) != (uint32_t)r->position
           || aqd_load_relaxed(r->view.ring + AQD_RING_STATE) == AQD_STATE_CLOSED;
}

/*@ assigns \result \from r; exits \false;
    ensures \result == &r->stats; */
const aqd_stats *aqd_reader_get_stats(const aqd_reader *r) { return &r->stats; }

/*@ assigns \result \from r; exits \false;
    ensures \result == &r->evidence; */
const aqd_evidence *aqd_reader_get_evidence(const aqd_reader *r) { return &r->evidence; }

/*@ assigns \result \from r; exits \false;
    ensures \result == &r->info; */
const aqd_ring_info *aqd_reader_get_info(const aqd_reader *r) { return &r->info; }
