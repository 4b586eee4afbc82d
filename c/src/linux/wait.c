/* Sleeping and waking: by the control socket, by an interrupt, by looking again. ABI 4.5.
 * Contracts: aqueduct/client.h, wait.h.
 *
 * One epoll set holds the control socket and an eventfd, so that the program has one descriptor for
 * life. The eventfd's count is the interrupt: it stays until it is taken, so one that comes just
 * before a sleep ends that sleep. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "clock.h"
#include "connection.h"
#include "failure.h"
#include "reconnect.h"

/* The longest sleep of those whom nobody wakes. */
#define LOOK_MAX_MS 32

/* Whether the producer wakes this client. */
static bool is_woken(const aqd_client *c) { return c->controlled && !c->observing; }

static bool is_ready(const aqd_client *c)
{
    return c->observing ? aqd_observer_ready(&c->observer) : aqd_reader_ready(&c->reader);
}

/* Whether a reading call would say something else than AQD_EMPTY, as far as can be told without
 * making a step. */
static bool has_news(const aqd_client *c)
{
    return c->changed || c->phase == AQD_PHASE_OVER || (c->phase == AQD_PHASE_ATTACHED && (c->hung_up || is_ready(c)));
}

void aqd_settle(aqd_client *c, bool timed_out)
{
    if (!c->armed) {
        return;
    }
    c->armed = false;
    c->attention = c->changed;
    if (c->phase != AQD_PHASE_ATTACHED) {
        return; /* what lies in the socket is the listener's answer */
    }
    if (is_woken(c)) {
        aqd_reader_finish_sleep(&c->reader, timed_out);
    } else {
        c->look_ms = is_ready(c) ? 1 : c->look_ms < LOOK_MAX_MS ? 2 * c->look_ms : LOOK_MAX_MS;
    }
    if (!timed_out) {
        aqd_drain(c);
    }
}

static bool take_interrupt(aqd_client *c)
{
    uint64_t count;
    return read(c->wake_fd, &count, sizeof count) == (ssize_t)sizeof count;
}

void aqd_interrupt(aqd_client *c)
{
    int before = errno;
    const uint64_t one = 1;
    /* It fails only when the count is full, and then it is readable. */
    (void)!write(c->wake_fd, &one, sizeof one);
    errno = before;
}

aqd_status aqd_arm(aqd_client *c, int *sleep_ms)
{
    aqd_settle(c, false);
    if (take_interrupt(c)) {
        return AQD_INTERRUPTED;
    }
    if (has_news(c)) {
        return AQD_OK;
    }
    if (c->phase != AQD_PHASE_ATTACHED) {
        if (aqd_reconnect(c, c->end) != AQD_STILL_DOWN) {
            return AQD_OK;
        }
        *sleep_ms = aqd_reconnect_ms(c);
    } else if (is_woken(c)) {
        if (!aqd_reader_prepare_sleep(&c->reader, AQD_WAITING_SOCKET, NULL)) {
            return AQD_OK;
        }
        *sleep_ms = AQD_SLEEP_SLICE_MS;
    } else {
        *sleep_ms = c->look_ms;
    }
    c->armed = true;
    c->attention = true;
    c->totals.sleeps++;
    return AQD_EMPTY;
}

aqd_status aqd_wait(aqd_client *c, int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? -1 : aqd_now_ms() + timeout_ms;
    for (;;) {
        int sleep_ms = 0;
        aqd_status status = aqd_arm(c, &sleep_ms);
        if (status != AQD_EMPTY) {
            return status;
        }
        struct pollfd on = {.fd = c->set_fd, .events = POLLIN};
        int ready = poll(&on, 1, aqd_poll_ms(deadline_ms, sleep_ms));
        int why = errno;
        aqd_settle(c, ready == 0);
        if (ready < 0) {
            /* A handler ran; it may have been one that interrupts. */
            if (why == EINTR) {
                return take_interrupt(c) ? AQD_INTERRUPTED : AQD_EMPTY;
            }
            return aqd_fail_errno(c, "poll", why);
        }
        if (deadline_ms >= 0 && aqd_now_ms() >= deadline_ms) {
            return take_interrupt(c) ? AQD_INTERRUPTED : has_news(c) ? AQD_OK : AQD_EMPTY;
        }
    }
}
