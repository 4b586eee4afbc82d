/* Reading with an attached client, releasing, and what it knows. ABI 6.3. Contracts:
 * aqueduct/client.h.. */
#include "../compiler.h"

#include "client.h"

#include <limits.h>

#include "attach.h"
#include "clock.h"
#include "connection.h"
#include "reconnect.h"
#include "wait.h"

/* A reader that polls without aqd_wait looks at the socket once in so many calls that find nothing;
 * a power of two. */
#define EMPTY_CALLS_PER_LOOK 1024u

/* Before a look at the ring: ends an announced sleep, goes on opening if there is no ring yet;
 * AQD_EPOCH_CHANGED if there is another one. */
AQD_COLD static aqd_status attend(aqd_client *c)
{
    aqd_settle(c);
    if (!aqd_was_attached(c) && aqd_reconnect(c, c->end) != AQD_ATTACHED_AGAIN) {
        return c->phase == AQD_PHASE_OVER ? c->end : AQD_EMPTY;
    }
    bool changed = c->changed;
    c->changed = false;
    c->attention = false;
    return changed ? AQD_EPOCH_CHANGED : AQD_OK;
}

/* Turns "nothing now" into "nothing any more", and that into a new beginning. The hang-up is
 * remembered before the reader looked, and what the listener published came before its end, so
 * nothing can be missed. True: look again. */
static bool look_again(aqd_client *c, aqd_status *status)
{
    if (*status != AQD_EMPTY && *status != AQD_CLOSED && *status != AQD_ERR_TAIL) {
        return false;
    }
    if (c->phase == AQD_PHASE_ATTACHED && !c->hung_up) {
        if (*status == AQD_EMPTY) {
            if (++c->empty_calls % EMPTY_CALLS_PER_LOOK == 0) {
                aqd_drain(c);
            }
            return c->hung_up;
        }
        if (*status == AQD_ERR_TAIL) {
            /* Evicted, or is it the producer that is broken? The connection knows. */
            aqd_drain(c);
            return c->hung_up;
        }
    }
    if (*status == AQD_EMPTY) {
        *status = AQD_LOST;
    }
    if (c->reconnect_ms == 0) {
        return false;
    }
    switch (aqd_reconnect(c, *status)) {
    case AQD_STILL_DOWN: *status = AQD_EMPTY; return false;
    case AQD_ATTACHED_AGAIN: return true;
    case AQD_GIVEN_UP: break;
    }
    *status = c->end;
    return false;
}

static inline void delivered(aqd_client *c, uint64_t records, uint64_t bytes)
{
    c->totals.records += records;
    c->totals.payload_bytes += bytes;
}

aqd_status aqd_next(aqd_client *c, void *buf, size_t cap, aqd_record *rec)
{
    aqd_status status;
    do {
        if (AQD_UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = c->observing ? aqd_observer_next(&c->observer, buf, cap, rec) : aqd_reader_next(&c->reader, buf, cap, rec);
    } while (AQD_UNLIKELY(status != AQD_OK) && look_again(c, &status));
    if (status == AQD_OK) {
        delivered(c, 1, rec->len);
    }
    return status;
}

aqd_status aqd_next_wait(aqd_client *c, void *buf, size_t cap, aqd_record *rec, int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? -1 : aqd_now_ms() + timeout_ms;
    for (;;) {
        aqd_status status = aqd_next(c, buf, cap, rec);
        if (status != AQD_EMPTY || timeout_ms == 0) {
            return status;
        }
        timeout_ms = aqd_poll_ms(deadline_ms, INT_MAX);
        status = aqd_wait(c, deadline_ms < 0 ? -1 : timeout_ms);
        if (status != AQD_OK) {
            return status == AQD_EMPTY ? aqd_next(c, buf, cap, rec) : status;
        }
    }
}

aqd_status aqd_next_batch(aqd_client *c, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    aqd_status status;
    *n = 0;
    do {
        if (AQD_UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = c->observing ? aqd_observer_next_batch(&c->observer, buf, cap, items, max, n)
                              : aqd_reader_next_batch(&c->reader, buf, cap, items, max, n);
        /* After records, an end is reported by the next call. */
    } while (*n == 0 && AQD_UNLIKELY(status != AQD_OK) && look_again(c, &status));
    for (size_t i = 0; i < *n; i++) {
        delivered(c, 1, items[i].record.len);
    }
    return status;
}

aqd_status aqd_view(aqd_client *c, const void **payload, aqd_record *rec)
{
    if (c->observing) {
        return AQD_ERR_MODE;
    }
    aqd_status status;
    do {
        if (AQD_UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = aqd_reader_view(&c->reader, payload, rec);
    } while (AQD_UNLIKELY(status != AQD_OK) && look_again(c, &status));
    if (status == AQD_OK) {
        delivered(c, 1, rec->len);
    }
    return status;
}

aqd_status aqd_peek(aqd_client *c, aqd_record *rec)
{
    aqd_status status;
    do {
        if (AQD_UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = c->observing ? aqd_observer_peek(&c->observer, rec) : aqd_reader_peek(&c->reader, rec);
    } while (status != AQD_OK && look_again(c, &status));
    return status;
}

aqd_status aqd_skip(aqd_client *c, aqd_record *rec)
{
    aqd_status status;
    do {
        if (AQD_UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = c->observing ? aqd_observer_skip(&c->observer, rec) : aqd_reader_skip(&c->reader, rec);
    } while (status != AQD_OK && look_again(c, &status));
    c->totals.skipped += status == AQD_OK;
    return status;
}

aqd_status aqd_release(aqd_client *c)
{
    aqd_unmap(&c->retired);
    if (!c->observing && aqd_was_attached(c) && aqd_reader_release(&c->reader) && c->fd >= 0 && c->phase == AQD_PHASE_ATTACHED) {
        aqd_tell_space(c);
    }
    return AQD_OK;
}

aqd_status aqd_seek(aqd_client *c, uint64_t epoch, uint64_t seq)
{
    if (!aqd_was_attached(c)) {
        return AQD_EMPTY;
    }
    return c->observing ? aqd_observer_seek(&c->observer, epoch, seq) : aqd_reader_seek(&c->reader, epoch, seq);
}

aqd_status aqd_skip_to_latest(aqd_client *c)
{
    if (!aqd_was_attached(c)) {
        return AQD_EMPTY;
    }
    return c->observing ? aqd_observer_skip_to_latest(&c->observer) : aqd_reader_skip_to_latest(&c->reader);
}
