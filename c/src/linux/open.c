/* Making a client from options or descriptors, and giving it back from any state. Contracts:
 * aqueduct/client.h.. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"
#include "client.h"
#include "clock.h"
#include "connection.h"
#include "failure.h"

#define TIMEOUT_MS 5000
#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 2000

/* Gives everything back but the memory of *c; again does nothing. */
static void detach(aqd_client *c)
{
    aqd_disconnect(c);
    aqd_unmap(&c->segments);
    aqd_unmap(&c->retired);
    if (c->wake_fd >= 0) {
        close(c->wake_fd);
        c->wake_fd = -1;
    }
    if (c->set_fd >= 0) {
        close(c->set_fd);
        c->set_fd = -1;
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

/* No version ends in padding: a field in its place would find what happened to be there. */
_Static_assert(offsetof(aqd_options, stop_fd) + sizeof(int32_t) == sizeof(aqd_options), "aqd_options has no padding at its end");
#define OPTIONS_BYTES_1 offsetof(aqd_options, open_retry_ms)

/* The options as this library knows them; false if the program knows more and uses it. */
static bool read_options(aqd_options *into, const aqd_options *from)
{
    const unsigned char *bytes = (const unsigned char *)from;
    if (!from || (from->size < sizeof *into && from->size != OPTIONS_BYTES_1)) {
        return false;
    }
    for (size_t i = sizeof *into; i < from->size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    *into = (aqd_options){0};
    memcpy(into, from, from->size < sizeof *into ? from->size : sizeof *into);
    return true;
}

static aqd_status set_options(aqd_client *c, const aqd_options *o)
{
    size_t path_len = o->path ? strlen(o->path) : 0;
    size_t ring_len = o->ring ? strlen(o->ring) : 0, subscription_len = o->subscription ? strlen(o->subscription) : 0;
    if (path_len == 0 || path_len >= sizeof c->address.sun_path || ring_len > AQD_RING_NAME_BYTES
        || (!o->observe && subscription_len > AQD_SUBSCRIPTION_NAME_BYTES)) {
        return AQD_ERR_ARGUMENT;
    }
    bool known_start = o->start == AQD_START_HERE || o->start == AQD_START_OLDEST || o->start == AQD_START_LATEST;
    if (!known_start || o->timeout_ms < -1 || o->reconnect_ms < -1 || o->backoff_min_ms < 0 || o->backoff_max_ms < 0
        || o->open_retry_ms < -1 || o->stop_fd < -1) {
        return AQD_ERR_ARGUMENT;
    }
    c->address.sun_family = AF_UNIX;
    memcpy(c->address.sun_path, o->path, path_len);
    memcpy(c->ring_name, ring_len ? o->ring : "", ring_len);
    if (!o->observe) {
        memcpy(c->subscription, subscription_len ? o->subscription : "", subscription_len);
    }
    c->controlled = true;
    c->observing = o->observe != 0;
    c->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : TIMEOUT_MS;
    c->reconnect_ms = o->reconnect_ms;
    c->backoff_min_ms = o->backoff_min_ms ? o->backoff_min_ms : BACKOFF_MIN_MS;
    c->backoff_max_ms = o->backoff_max_ms ? o->backoff_max_ms : BACKOFF_MAX_MS;
    c->backoff_max_ms = c->backoff_max_ms < c->backoff_min_ms ? c->backoff_min_ms : c->backoff_max_ms;
    c->backoff_ms = c->backoff_min_ms;
    return AQD_OK;
}

/* Whether a listener that comes, or comes again, can cure it. */
static bool is_curable(const aqd_client *c, aqd_status status)
{
    switch (status) {
    case AQD_ERR_SYSTEM: return c->error_number == ENOENT || c->error_number == ECONNREFUSED;
    case AQD_ERR_REFUSED: return c->refusal == AQD_WELCOME_SHUTTING_DOWN;
    case AQD_ERR_TIMEOUT: case AQD_ERR_HANGUP: return true;
    default: return false;
    }
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
        if (status == AQD_OK || !is_curable(c, status) || (end_ms >= 0 && now_ms >= end_ms)) {
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

static aqd_status open_client(const aqd_options *o, int timeout_ms, aqd_client **out)
{
    aqd_client *c = new_client();
    if (!c) {
        return AQD_ERR_MEMORY;
    }
    aqd_status status = set_options(c, o);
    if (status != AQD_OK) {
        free(c);
        return status;
    }
    *out = c;
    c->kind = c->observing                     ? AQD_HELLO_OBSERVE
              : o->start == AQD_START_OLDEST   ? AQD_HELLO_ATTACH_OLDEST
              : o->start == AQD_START_LATEST   ? AQD_HELLO_ATTACH_LATEST
                                               : AQD_HELLO_ATTACH;
    status = make_set(c);
    c->stop_fd = o->stop_fd > 0 ? o->stop_fd : -1;
    if (status == AQD_OK) {
        status = attach(c, timeout_ms, o->open_retry_ms);
    }
    c->stop_fd = -1;
    if (status != AQD_OK) {
        detach(c); /* now, not when the caller closes: the subscription is free for another reader */
        return status;
    }
    if (c->observing && o->start == AQD_START_LATEST) {
        aqd_observer_skip_to_latest(&c->observer);
    }
    aqd_clear_failure(c); /* of attempts before */
    /* The next attachment goes on where this one was. */
    c->kind = c->observing ? AQD_HELLO_OBSERVE : AQD_HELLO_ATTACH;
    c->totals.attachments = 1;
    return AQD_OK;
}

aqd_status aqd_open_with(const aqd_options *options, aqd_client **out)
{
    aqd_options o;
    if (!out) {
        return AQD_ERR_ARGUMENT;
    }
    *out = NULL;
    if (!read_options(&o, options)) {
        return AQD_ERR_ARGUMENT;
    }
    return open_client(&o, o.timeout_ms == 0 ? TIMEOUT_MS : o.timeout_ms, out);
}

aqd_status aqd_open(const char *path, const char *ring, const char *subscription, int timeout_ms, aqd_client **out)
{
    if (!out) {
        return AQD_ERR_ARGUMENT;
    }
    *out = NULL;
    aqd_options o = {.size = sizeof o, .path = path, .ring = ring, .subscription = subscription};
    return open_client(&o, timeout_ms, out);
}

aqd_status aqd_open_fds(int control_fd, int ring_fd, int cursor_fd, aqd_client **out)
{
    if (!out) {
        return AQD_ERR_ARGUMENT;
    }
    *out = NULL;
    if (ring_fd < 0 || control_fd < -1 || cursor_fd < -1) {
        return AQD_ERR_ARGUMENT;
    }
    aqd_client *c = new_client();
    if (!c) {
        return AQD_ERR_MEMORY;
    }
    *out = c;
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
    c->totals.attachments = 1;
    return AQD_OK;
}
