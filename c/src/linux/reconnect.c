/* Going on after the listener's end: an attempt now and then, without ever waiting, until there is
 * a listener again. Contracts: aqueduct/client.h.
 *
 * The old ring stays mapped while nobody listens: it is drained, so its reader finds nothing more.
 * Only a successful attachment replaces it, and even then its bytes stay until the program has
 * released its views. */
#include "../compiler.h"

#include "reconnect.h"

#include <string.h>

#include "../lag.h"
#include "../load.h"
#include "attach.h"
#include "clock.h"
#include "connection.h"
#include "failure.h"

static void pause_before_next(aqd_client *c, int64_t now_ms)
{
    c->next_dial_ms = now_ms + c->backoff_ms;
    c->backoff_ms = c->backoff_ms < c->backoff_max_ms / 2 ? 2 * c->backoff_ms : c->backoff_max_ms;
}

/* Whether the time for attempts has passed. */
static bool is_over(const aqd_client *c, int64_t now_ms)
{
    int allowed_ms = aqd_was_attached(c) ? c->reconnect_ms : c->open_retry_ms;
    return allowed_ms >= 0 && now_ms - c->ended_ms >= allowed_ms;
}

static void start_outage(aqd_client *c, aqd_status end)
{
    int64_t now_ms = aqd_now_ms();
    bool fruitful = c->totals.records + c->totals.skipped != c->records_before;
    c->end = end;
    c->hung_up = true;
    c->phase = AQD_PHASE_DOWN;
    aqd_disconnect(c);
    if (fruitful || !c->resumed) {
        c->ended_ms = now_ms;
    }
    if (fruitful || c->totals.attachments == 1) {
        c->backoff_ms = c->backoff_min_ms;
        c->next_dial_ms = now_ms;
    } else {
        pause_before_next(c, now_ms); /* attached and lost again for nothing: not at once once more */
    }
}

/* An attempt to reconnect is followed by another one whatever the listener said; one to open only
 * if what failed may be cured, and there is time. */
static void attempt_failed(aqd_client *c, aqd_status why, int64_t now_ms)
{
    c->refusal = why == AQD_ERR_REFUSED ? c->refusal : 0;
    /* A full backlog is waited for as long as an answer. */
    bool queueing = why == AQD_ERR_TIMEOUT && c->phase == AQD_PHASE_DOWN && now_ms - c->ended_ms < c->timeout_ms;
    bool final = !aqd_was_attached(c) && !queueing && (!aqd_is_curable(c, why) || is_over(c, now_ms));
    aqd_disconnect(c);
    c->phase = final ? AQD_PHASE_OVER : AQD_PHASE_DOWN;
    c->end = aqd_was_attached(c) ? c->end : why;
    pause_before_next(c, now_ms);
}

/* The new reader takes the old one's place in the same ring. */
static void go_on(aqd_client *c, const aqd_reader *reader, const aqd_observer *observer)
{
    if (c->observing) {
        c->observer.position = observer->position;
        c->observer.tail = observer->tail;
        c->observer.expected_seq = observer->expected_seq;
        c->observer.seq_known = observer->seq_known;
        c->observer.overrun = observer->overrun;
        c->observer.stats = observer->stats;
        return;
    }
    /* The cursor is what was released; what was read since lies behind it. If it does not, somebody
     * else read on: the number tells. */
    uint32_t cursor = (uint32_t)c->reader.position;
    uint32_t read = (uint32_t)reader->position - cursor;
    if (read <= c->reader.tail - c->reader.position) {
        c->reader.position += read;
        /* What was released stays so: a ring that was full because of it could stay full. */
        uint32_t released = aqd_load_relaxed(reader->cursor + AQD_CURSOR_CURSOR) - cursor;
        if (released <= read) {
            /* ORDER(release): Release, as in aqd_reader_release. */
            aqd_store_release(c->reader.cursor + AQD_CURSOR_CURSOR, cursor + released);
        }
    }
    c->reader.expected_seq = reader->expected_seq;
    c->reader.seq_known = reader->seq_known;
}

/* Whether somebody else has had, or the producer overwritten, the new ring's first records. */
static bool misses_the_first(const aqd_client *c)
{
    aqd_record first;
    uint64_t position = c->observing ? c->observer.position : c->reader.position;
    uint64_t tail = c->observing ? c->observer.tail : c->reader.tail;
    const struct aqd_ring_view *view = c->observing ? &c->observer.view : &c->reader.view;
    /* Positions count from the ring's creation. */
    return position != 0 || (aqd_first_data(view, position, tail, &first) && first.seq != 0);
}

static void tell_change(aqd_client *c, uint64_t old_epoch, uint64_t old_next_seq)
{
    c->change = (aqd_change){.old_epoch = old_epoch,
                             .new_epoch = aqd_ring_of(c)->epoch,
                             .old_next_seq = old_next_seq,
                             .down_ms = (uint64_t)(aqd_now_ms() - c->ended_ms),
                             .old_end = c->end,
                             .missed = (c->end == AQD_ERR_TAIL ? AQD_MISSED_OLD : 0u) | (misses_the_first(c) ? AQD_MISSED_NEW : 0u)};
    c->changed = true;
    c->attention = true;
}

/* The client was opened without blocking, and now it is attached. */
static void tell_first(aqd_client *c)
{
    c->change = (aqd_change){.new_epoch = aqd_ring_of(c)->epoch, .down_ms = (uint64_t)(aqd_now_ms() - c->ended_ms)};
    c->changed = true;
    c->attention = true;
}

void aqd_count_attachment(aqd_client *c)
{
    c->totals.attachments++;
    if (c->totals.attachments == 1 && c->observing && c->start == AQD_START_LATEST) {
        aqd_observer_skip_to_latest(&c->observer);
    }
    /* The next attachment goes on where this one was. */
    c->kind = c->observing ? AQD_HELLO_OBSERVE : AQD_HELLO_ATTACH;
}

/* Hears the answer, if it is there; the old ring is put back if it is not a good one. late: the
 * time for it is over. */
static aqd_status finish(aqd_client *c, bool late)
{
    char message[sizeof c->message];
    memcpy(message, c->message, sizeof message);
    int error_number = c->error_number;
    struct aqd_segments segments = c->segments;
    aqd_reader reader = c->reader;
    aqd_observer observer = c->observer;
    uint64_t old_epoch = aqd_ring_of(c)->epoch;
    c->segments = (struct aqd_segments){0};
    aqd_status status = aqd_attach_finish(c, 0);
    if (status != AQD_OK) {
        aqd_unmap(&c->segments);
        c->segments = segments;
        c->reader = reader;
        c->observer = observer;
        if (status == AQD_ERR_TIMEOUT && !late) {
            memcpy(c->message, message, sizeof message); /* not an outcome yet */
            c->error_number = error_number;
        }
        return status;
    }
    aqd_clear_failure(c);
    c->retired = segments;
    if (c->observing) {
        aqd_unmap(&c->retired); /* it lends nothing */
    }
    c->phase = AQD_PHASE_ATTACHED;
    c->hung_up = false;
    c->look_ms = 1;
    c->records_before = c->totals.records + c->totals.skipped;
    aqd_count_attachment(c);
    c->resumed = aqd_ring_of(c)->epoch == old_epoch;
    if (c->totals.attachments == 1) {
        tell_first(c);
    } else if (c->resumed) {
        go_on(c, &reader, &observer);
    } else {
        bool known = c->observing ? observer.seq_known : reader.seq_known;
        tell_change(c, old_epoch, !known ? 0 : c->observing ? observer.expected_seq : reader.expected_seq);
    }
    return AQD_OK;
}

aqd_outcome aqd_reconnect(aqd_client *c, aqd_status end)
{
    if (c->phase == AQD_PHASE_OVER) {
        return AQD_GIVEN_UP;
    }
    if (c->phase == AQD_PHASE_ATTACHED) {
        start_outage(c, end);
    }
    int64_t now_ms = aqd_now_ms();
    /* Not while there may be views of the ring before this one. */
    if (c->phase == AQD_PHASE_DOWN && now_ms >= c->next_dial_ms && !c->retired.ring) {
        c->totals.attempts += aqd_was_attached(c);
        aqd_status status = aqd_attach_begin(c, 0);
        if (status == AQD_OK) {
            c->phase = AQD_PHASE_GREETED;
            c->greeted_until_ms = now_ms + c->timeout_ms;
        } else {
            attempt_failed(c, status, now_ms);
        }
    }
    if (c->phase == AQD_PHASE_GREETED) {
        bool late = now_ms >= c->greeted_until_ms;
        aqd_status status = finish(c, late);
        if (status == AQD_OK) {
            return AQD_ATTACHED_AGAIN;
        }
        if (status != AQD_ERR_TIMEOUT || late) {
            attempt_failed(c, status, now_ms);
        }
    }
    if (c->phase == AQD_PHASE_DOWN && aqd_was_attached(c) && is_over(c, now_ms)) {
        c->phase = AQD_PHASE_OVER;
    }
    return c->phase == AQD_PHASE_OVER ? AQD_GIVEN_UP : AQD_STILL_DOWN;
}

int aqd_reconnect_ms(const aqd_client *c)
{
    int64_t until_ms = c->phase == AQD_PHASE_GREETED ? c->greeted_until_ms : c->next_dial_ms;
    int allowed_ms = aqd_was_attached(c) ? c->reconnect_ms : c->open_retry_ms;
    if (c->phase == AQD_PHASE_DOWN && allowed_ms > 0 && c->ended_ms + allowed_ms < until_ms) {
        until_ms = c->ended_ms + allowed_ms; /* the last attempt comes when the time is over */
    }
    if (c->retired.ring) {
        until_ms = -1;
    }
    int left_ms = aqd_poll_ms(until_ms, AQD_SLEEP_SLICE_MS);
    return left_ms > 0 ? left_ms : 1;
}
