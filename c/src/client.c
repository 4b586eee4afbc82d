/* Reading with an attached client, releasing, and what it knows. ABI 6.3. Contracts:
 * aqueduct/client.h. Next: wait.c. */
#define _GNU_SOURCE
#include "client.h"

#include <sys/socket.h>
#include <time.h>

#include "load.h"

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* A reader that polls without aqd_wait looks at the socket once in so many calls that find nothing;
 * a power of two. */
#define EMPTY_CALLS_PER_LOOK 1024u

/* Before a look at the ring: ends an announced sleep; AQD_EPOCH_CHANGED if that is news. */
__attribute__((cold, noinline)) static aqd_status attend(aqd_client *c)
{
    aqd_settle(c, false);
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
            /* Thrown out, or is it the producer that is broken? The connection knows. */
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
        if (UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = c->observing ? aqd_observer_next(&c->observer, buf, cap, rec) : aqd_reader_next(&c->reader, buf, cap, rec);
    } while (UNLIKELY(status != AQD_OK) && look_again(c, &status));
    if (status == AQD_OK) {
        delivered(c, 1, rec->len);
    }
    return status;
}

aqd_status aqd_next_batch(aqd_client *c, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    aqd_status status;
    *n = 0;
    do {
        if (UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = c->observing ? aqd_observer_next_batch(&c->observer, buf, cap, items, max, n)
                              : aqd_reader_next_batch(&c->reader, buf, cap, items, max, n);
        /* Behind records, an end is told by the next call. */
    } while (*n == 0 && UNLIKELY(status != AQD_OK) && look_again(c, &status));
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
        if (UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
            return status;
        }
        status = aqd_reader_view(&c->reader, payload, rec);
    } while (UNLIKELY(status != AQD_OK) && look_again(c, &status));
    if (status == AQD_OK) {
        delivered(c, 1, rec->len);
    }
    return status;
}

aqd_status aqd_peek(aqd_client *c, aqd_record *rec)
{
    aqd_status status;
    do {
        if (UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
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
        if (UNLIKELY(c->attention) && (status = attend(c)) != AQD_OK) {
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
    if (!c->observing && aqd_reader_release(&c->reader) && c->fd >= 0 && c->phase == AQD_PHASE_ATTACHED) {
        /* One that does not fit is as good as sent: the listener has unread ones and will look. One
         * that meets a closed socket is noticed when the socket is read. */
        const unsigned char packet = AQD_PACKET_SPACE;
        (void)!send(c->fd, &packet, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return AQD_OK;
}

aqd_status aqd_seek(aqd_client *c, uint64_t epoch, uint64_t seq)
{
    return c->observing ? aqd_observer_seek(&c->observer, epoch, seq) : aqd_reader_seek(&c->reader, epoch, seq);
}

aqd_status aqd_skip_to_latest(aqd_client *c)
{
    return c->observing ? aqd_observer_skip_to_latest(&c->observer) : aqd_reader_skip_to_latest(&c->reader);
}

int aqd_fd(const aqd_client *c) { return c->set_fd; }

const aqd_ring_info *aqd_info(const aqd_client *c)
{
    return c->observing ? aqd_observer_info(&c->observer) : aqd_reader_info(&c->reader);
}

const aqd_stats *aqd_get_stats(const aqd_client *c)
{
    return c->observing ? aqd_observer_stats(&c->observer) : aqd_reader_stats(&c->reader);
}

const aqd_evidence *aqd_get_evidence(const aqd_client *c)
{
    return c->observing ? aqd_observer_evidence(&c->observer) : aqd_reader_evidence(&c->reader);
}

aqd_status aqd_get_lag(const aqd_client *c, aqd_lag *lag)
{
    uint32_t clock_id = aqd_info(c)->clock_id;
    struct timespec now = {0};
    if (clock_id == AQD_CLOCK_REALTIME || clock_id == AQD_CLOCK_MONOTONIC) {
        clock_gettime(clock_id == AQD_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    }
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    return c->observing ? aqd_observer_lag(&c->observer, now_ns, lag) : aqd_reader_lag(&c->reader, now_ns, lag);
}

const aqd_totals *aqd_get_totals(const aqd_client *c) { return &c->totals; }

const aqd_change *aqd_get_change(const aqd_client *c) { return &c->change; }

int aqd_is_attached(const aqd_client *c) { return c->phase == AQD_PHASE_ATTACHED && !c->hung_up; }

const char *aqd_message(const aqd_client *c) { return c ? c->message : ""; }

int aqd_errno(const aqd_client *c) { return c ? c->error_number : 0; }

uint32_t aqd_refusal(const aqd_client *c) { return c ? c->refusal : 0; }
