/* Moving a gating reader forward without reading: to a stored number, to the latest. Contracts:
 * aqueduct/reader.h. */
#include "compiler.h"

#include "aqueduct/reader.h"
#include "contracts.h"
#include "load.h"
#include "record.h"

/* The reader stands at the tail. Is the record to come there the one sought? */
/*@ requires aqd_sound(r);
    assigns r->expected_seq, r->seq_known, r->evidence; exits \false;
    ensures aqd_sound(r); */
static aqd_status reader_judge_at_tail(aqd_reader *r, uint64_t seq)
{
    if (!r->seq_known) {
        /* ORDER(none): the Acquire of the tail that was used up makes it at least that tail's
         * number. It may be that of a batch which is just being published, so a number before it
         * may still come; whether it does, the first record tells, as a gap if not. */
        uint32_t ahead = (uint32_t)seq - aqd_load_relaxed(r->view.ring + AQD_RING_NEXT_SEQ);
        if (ahead != 0 && ahead <= UINT32_MAX / 2) {
            return AQD_AHEAD;
        }
        r->expected_seq = seq;
        r->seq_known = true;
        return AQD_OK;
    }
    if (r->expected_seq == seq) {
        return AQD_OK;
    }
    if (r->expected_seq < seq) {
        return AQD_AHEAD;
    }
    r->evidence = (aqd_evidence){
        .position = r->position, .resumed = r->position, .expected_seq = seq, .found_seq = r->expected_seq, .tail = r->tail};
    return AQD_ERR_GONE;
}

/*@ requires aqd_sound(r);
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r); */
aqd_status aqd_reader_seek(aqd_reader *r, uint64_t epoch, uint64_t seq)
{
    if (epoch != r->info.epoch) {
        return AQD_ERR_EPOCH;
    }
    /* In an honest ring a lap is the most there is to skip. Every round counts what it moves, and 1
     * more for a gap, which moves nothing; a round moves at most three laps and what it was to skip
     * is decided by one look, so it ends before the eighth. */
    uint64_t left = 4 * (uint64_t)r->view.capacity;
    /*@ loop invariant aqd_sound(r);
        loop assigns left, r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats,
                     r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3];
        loop variant left; */
    while (left > 0) {
        uint64_t from = r->position;
        aqd_record rec;
        aqd_status status = aqd_reader_peek(r, &rec);
        if (status == AQD_OK && rec.seq == seq) {
            return AQD_OK;
        }
        if (status == AQD_OK && rec.seq > seq) {
            r->evidence = (aqd_evidence){
                .position = r->position, .resumed = r->position, .expected_seq = seq, .found_seq = rec.seq, .tail = r->tail};
            /*@ assert aqd_sound(r); */
            return AQD_ERR_GONE;
        }
        if (status == AQD_OK) {
            aqd_consume_peeked(r, &rec);
        } else if (status == AQD_EMPTY || status == AQD_CLOSED) {
            return reader_judge_at_tail(r, seq);
        } else if (status == AQD_ERR_TAIL) {
            return AQD_ERR_TAIL;
        }
        uint64_t moved = r->position - from;
        left = moved < left ? left - moved - 1 : 0;
    }
    r->evidence = (aqd_evidence){.position = r->position, .resumed = r->position, .expected_seq = seq, .tail = r->tail};
    /*@ assert aqd_sound(r); */
    return AQD_ERR_TAIL;
}

/*@ requires aqd_sound(r);
    assigns r->position, r->tail, r->seq_known, r->evidence; exits \false;
    ensures aqd_sound(r); */
aqd_status aqd_reader_skip_to_latest(aqd_reader *r)
{
    /* ORDER(publish): Acquire. What is read from there on was written before it. Pairs with the
     * producer's store-release of `tail`. */
    uint32_t shared = aqd_load_acquire(r->view.ring + AQD_RING_TAIL);
    uint32_t distance = shared - (uint32_t)r->position;
    if (distance > r->view.capacity) {
        r->evidence = (aqd_evidence){.position = r->position, .resumed = r->position, .tail = shared};
        return AQD_ERR_TAIL;
    }
    r->position += distance;
    r->tail = r->position;
    if (distance > 0) {
        r->seq_known = false;
    }
    return AQD_OK;
}
