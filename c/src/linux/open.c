/* Making a client from options or descriptors, and giving it back from any state. Contracts:
 * aqueduct/client.h.. */
#include "../compiler.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "attach.h"
#include "client.h"
#include "clock.h"
#include "connection.h"
#include "failure.h"
#include "options.h"
#include "reconnect.h"

/* In place of a timeout: the one of the options. */
#define USE_OPTION (-2)

/* Gives everything back but the memory of *c; again does nothing. */
static void detach(aqd_client *c)
{
    aqd_disconnect(c);
    aqd_unmap(&c->segments);
    aqd_unmap(&c->retired);
    int *const fds[] = {&c->timer_fd, &c->wake_fd, &c->set_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0) {
            close(*fds[i]);
            *fds[i] = -1;
        }
    }
}

void aqd_close(aqd_client *c)
{
    if (c) {
        detach(c);
        free(c);
    }
}

static aqd_client *new_client(void)
{
    aqd_client *c = calloc(1, sizeof *c);
    if (c) {
        c->fd = -1;
        c->wake_fd = -1;
        c->set_fd = -1;
        c->stop_fd = -1;
        c->timer_fd = -1;
        c->owner = getpid();
        c->look_ms = 1;
        c->kind = AQD_HELLO_ATTACH;
    }
    return c;
}

/* What aqd_fd and aqd_interrupt need. */
static aqd_status make_set(aqd_client *c)
{
    c->set_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->set_fd < 0) {
        return aqd_fail_errno(c, "epoll_create1", errno);
    }
    c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (c->wake_fd < 0) {
        return aqd_fail_errno(c, "eventfd", errno);
    }
    return aqd_watch(c, c->wake_fd, EPOLLIN);
}

/* One attempt, and as many more as there is time for. Negative times: for ever. */
static aqd_status attach(aqd_client *c, int timeout_ms, int retry_ms)
{
    int64_t end_ms = retry_ms < 0 ? -1 : aqd_now_ms() + retry_ms;
    for (int64_t pause_ms = c->backoff_min_ms;; pause_ms = 2 * pause_ms < c->backoff_max_ms ? 2 * pause_ms : c->backoff_max_ms) {
        int64_t deadline_ms = timeout_ms < 0 ? -1 : aqd_now_ms() + timeout_ms;
        aqd_status status = aqd_attach_begin(c, deadline_ms);
        if (status == AQD_OK) {
            status = aqd_attach_finish(c, deadline_ms);
        }
        int64_t now_ms = aqd_now_ms();
        if (status == AQD_OK || !aqd_is_curable(c, status) || (end_ms >= 0 && now_ms >= end_ms)) {
            return status;
        }
        int64_t until_ms = end_ms >= 0 && end_ms < now_ms + pause_ms ? end_ms : now_ms + pause_ms;
        aqd_disconnect(c);
        c->refusal = 0;
        while (aqd_now_ms() < until_ms) {
            status = aqd_sleep_on(c, -1, until_ms);
            if (status != AQD_EMPTY) {
                return status;
            }
        }
    }
}

/* Opening without blocking: the first step now, the others in aqd_wait, aqd_arm and the reading
 * calls. */
static aqd_status begin(aqd_client *c)
{
    c->phase = AQD_PHASE_DOWN;
    c->ended_ms = aqd_now_ms();
    c->next_dial_ms = c->ended_ms;
    c->attention = true;
    return aqd_reconnect(c, AQD_EMPTY) == AQD_GIVEN_UP ? c->end : AQD_OK;
}

static aqd_status open_client(const aqd_options *options, int timeout_ms, aqd_client **out)
{
    if (!out) {
        return AQD_ERR_ARGUMENT;
    }
    aqd_client *c = new_client();
    *out = c;
    if (!c) {
        return AQD_ERR_MEMORY;
    }
    aqd_options o;
    aqd_status status = aqd_take_options(c, options, &o);
    if (status == AQD_OK) {
        status = make_set(c);
    }
    if (status == AQD_OK && o.nonblocking) {
        status = begin(c);
    } else if (status == AQD_OK) {
        c->stop_fd = o.stop_fd > 0 ? o.stop_fd : -1;
        status = attach(c, timeout_ms == USE_OPTION ? (o.timeout_ms < 0 ? -1 : c->timeout_ms) : timeout_ms, o.open_retry_ms);
        c->stop_fd = -1;
        if (status == AQD_OK) {
            aqd_clear_failure(c); /* of attempts before */
            aqd_count_attachment(c);
        }
    }
    if (status != AQD_OK) {
        detach(c); /* now, not when the caller closes: the subscription is free for another reader */
    }
    return status;
}

aqd_status aqd_open_with(const aqd_options *options, aqd_client **out) { return open_client(options, USE_OPTION, out); }

aqd_status aqd_open(const char *path, const char *ring, const char *subscription, int timeout_ms, aqd_client **out)
{
    const aqd_options o = {.size = sizeof o, .path = path, .ring = ring, .subscription = subscription};
    return open_client(&o, timeout_ms < 0 ? -1 : timeout_ms, out);
}

aqd_status aqd_open_fds(int control_fd, int ring_fd, int cursor_fd, aqd_client **out)
{
    if (!out) {
        return AQD_ERR_ARGUMENT;
    }
    aqd_client *c = new_client();
    *out = c;
    if (!c) {
        return AQD_ERR_MEMORY;
    }
    if (ring_fd < 0 || control_fd < -1 || cursor_fd < -1) {
        return aqd_fail(c, AQD_ERR_ARGUMENT, "control_fd is %d, ring_fd %d, cursor_fd %d; only the first and the last may be -1", control_fd, ring_fd,
                        cursor_fd);
    }
    c->observing = cursor_fd == -1;
    c->controlled = control_fd >= 0;
    aqd_status status = make_set(c);
    c->fd = control_fd;
    if (status == AQD_OK && control_fd >= 0) {
        status = aqd_watch(c, control_fd, EPOLLIN | EPOLLRDHUP);
    }
    if (status == AQD_OK) {
        status = aqd_attach_fds(c, ring_fd, cursor_fd);
    }
    if (status != AQD_OK) {
        detach(c);
        return status;
    }
    aqd_count_attachment(c);
    return AQD_OK;
}
