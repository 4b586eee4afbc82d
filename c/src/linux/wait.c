/* Sleeping and waking: by the control socket, by an interrupt, by looking again. ABI 4.5.
 * Contracts: aqueduct/client.h, wait.h.
 *
 * One epoll set holds the control socket, an eventfd and, once aqd_arm is asked to keep the time, a
 * timerfd, so that the program has one descriptor for life. An interrupt is a flag; the eventfd
 * only ends the sleep, so that asking for an interrupt costs no system call. A wake-up costs two:
 * the sleep, and taking the packet. */
#include "../compiler.h"

#include "wait.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
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

/* Resets an eventfd or a timerfd; true if it was readable. */
static bool reset(int fd)
{
    uint64_t count;
    return fd >= 0 && read(fd, &count, sizeof count) == (ssize_t)sizeof count;
}

/* The interrupt, if there is one. A flag that is set before its write reaches the eventfd leaves
 * that readable: it ends one sleep for nothing and is reset then. */
static bool take_interrupt(aqd_client *c)
{
    /* ORDER(interrupt): Acquire. What the interrupting thread wrote before is seen. Pairs with
     * aqd_interrupt. */
    if (!__atomic_load_n(&c->interrupted, __ATOMIC_RELAXED) || !__atomic_exchange_n(&c->interrupted, 0, __ATOMIC_ACQUIRE)) {
        return false;
    }
    reset(c->wake_fd);
    return true;
}

void aqd_interrupt(aqd_client *c)
{
    int before = errno;
    const uint64_t one = 1;
    /* ORDER(interrupt): Release. Pairs with take_interrupt. */
    __atomic_store_n(&c->interrupted, 1, __ATOMIC_RELEASE);
    /* It fails only when the count is full, and then it is readable. */
    (void)!write(c->wake_fd, &one, sizeof one);
    errno = before;
}

/* Whoever is not armed any more looks at the ring again. timed_out: nothing but the time ended the
 * sleep. */
static void disarm(aqd_client *c, bool timed_out)
{
    c->armed = false;
    c->attention = c->changed || !aqd_was_attached(c);
    if (c->phase != AQD_PHASE_ATTACHED) {
        return;
    }
    if (is_woken(c)) {
        aqd_reader_finish_sleep(&c->reader, timed_out);
    } else {
        c->look_ms = is_ready(c) ? 1 : c->look_ms < LOOK_MAX_MS ? 2 * c->look_ms : LOOK_MAX_MS;
    }
}

void aqd_settle(aqd_client *c)
{
    if (!c->armed) {
        return;
    }
    /* What ended the sleep is not known here. Mostly it is a packet, and then the others, which
     * stay readable, have their turn at the next sleep. While reconnecting, what lies in the socket
     * is the listener's answer. */
    bool woken = c->phase == AQD_PHASE_ATTACHED && aqd_drain(c);
    bool timed_out = false;
    if (!woken) {
        bool interrupted = reset(c->wake_fd);
        timed_out = reset(c->timer_fd) && !interrupted;
    }
    disarm(c, timed_out);
}

/* Announces a sleep, without a system call. Answers as aqd_arm. */
static aqd_status announce(aqd_client *c, int *sleep_ms)
{
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

/* Lets the timerfd tick every period_ms. Mostly it does already. */
static aqd_status set_timer(aqd_client *c, int period_ms)
{
    if (c->timer_fd < 0) {
        c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (c->timer_fd < 0) {
            return aqd_fail_errno(c, "timerfd_create", errno);
        }
        aqd_status status = aqd_watch(c, c->timer_fd, EPOLLIN);
        if (status != AQD_OK) {
            close(c->timer_fd);
            c->timer_fd = -1;
            return status;
        }
    }
    if (c->timer_ms != period_ms) {
        const struct timespec period = {.tv_sec = period_ms / 1000, .tv_nsec = period_ms % 1000 * 1000000L};
        const struct itimerspec every = {.it_interval = period, .it_value = period};
        if (timerfd_settime(c->timer_fd, 0, &every, NULL) != 0) {
            return aqd_fail_errno(c, "timerfd_settime", errno);
        }
        c->timer_ms = period_ms;
    }
    return AQD_EMPTY;
}

aqd_status aqd_arm(aqd_client *c, int *sleep_ms)
{
    int ms = 0;
    aqd_settle(c);
    aqd_status status = announce(c, &ms);
    if (status == AQD_EMPTY && !sleep_ms) {
        status = set_timer(c, ms);
        if (status != AQD_EMPTY) {
            disarm(c, false);
        }
    }
    if (sleep_ms) {
        *sleep_ms = ms;
    }
    return status;
}

/* Takes what epoll_wait has reported. */
static void take(aqd_client *c, const struct epoll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd != c->fd) {
            reset(events[i].data.fd);
        } else if (c->phase == AQD_PHASE_ATTACHED) {
            aqd_drain(c);
        }
    }
    disarm(c, n == 0);
}

aqd_status aqd_wait(aqd_client *c, int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? -1 : aqd_now_ms() + timeout_ms;
    aqd_settle(c);
    for (;;) {
        int sleep_ms = 0;
        aqd_status status = announce(c, &sleep_ms);
        if (status != AQD_EMPTY) {
            return status;
        }
        struct epoll_event events[3];
        int ready = epoll_wait(c->set_fd, events, 3, aqd_poll_ms(deadline_ms, sleep_ms));
        int why = errno;
        if (ready < 0) {
            disarm(c, false);
            if (why == EBADF || why == EINVAL) {
                return aqd_fail_errno(c, "epoll_wait", why);
            }
            /* A handler ran, and may have left its own errno; it may have been one that
             * interrupts. */
            return take_interrupt(c) ? AQD_INTERRUPTED : AQD_EMPTY;
        }
        take(c, events, ready);
        if (deadline_ms >= 0 && aqd_now_ms() >= deadline_ms) {
            return take_interrupt(c) ? AQD_INTERRUPTED : has_news(c) ? AQD_OK : AQD_EMPTY;
        }
    }
}
