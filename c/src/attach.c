/* Attaching: connect, HELLO, WELCOME with its descriptors, sizes, seals, mappings. ABI 6.2. Next:
 * open.c.
 *
 * The segments' descriptors live in this file only, as locals that every path closes; what outlasts
 * it are the socket and the mappings, which aqd_disconnect and aqd_unmap undo in whatever state
 * they find them. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "bytes.h"
#include "client.h"

/* Room for as many descriptors as one packet can carry (the kernel's SCM_MAX_FD), so that a surplus
 * is received and closed. */
#define FDS_MAX 253

struct answer {
    uint64_t ring_bytes;
    uint32_t cursor_bytes;
    int fds[FDS_MAX]; /* the first n_fds are ours to close */
    size_t n_fds;
};

__attribute__((format(printf, 3, 4))) static aqd_status fail(aqd_client *c, aqd_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->message, sizeof c->message, format, args);
    va_end(args);
    c->error_number = 0;
    return status;
}

static aqd_status fail_errno(aqd_client *c, const char *call)
{
    int why = errno;
    fail(c, AQD_ERR_SYSTEM, "%s: %s", call, strerror(why));
    c->error_number = why;
    return AQD_ERR_SYSTEM;
}

aqd_status aqd_fail_errno(aqd_client *c, const char *call) { return fail_errno(c, call); }

static aqd_status fail_timeout(aqd_client *c) { return fail(c, AQD_ERR_TIMEOUT, "the listener did not answer in time"); }

/* A UNIX socket's connect waits while the listener's backlog is full; SO_SNDTIMEO bounds that. */
static aqd_status dial(aqd_client *c, const struct sockaddr_un *address, int64_t deadline_ms)
{
    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        return fail_errno(c, "socket");
    }
    do {
        int wait_ms = aqd_poll_ms(deadline_ms, AQD_SLEEP_SLICE_MS);
        struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 + 1}; /* 0 would mean for ever */
        if (setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0) {
            return fail_errno(c, "setsockopt");
        }
        if (connect(c->fd, (const struct sockaddr *)address, sizeof *address) == 0) {
            return AQD_OK;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return fail_errno(c, "connect");
        }
        aqd_status status = c->stop_fd >= 0 ? aqd_sleep_on(c, -1, 0) : AQD_EMPTY;
        if (status != AQD_EMPTY) {
            return status;
        }
    } while (deadline_ms < 0 || aqd_now_ms() < deadline_ms);
    return fail_timeout(c);
}

static aqd_status say_hello(aqd_client *c, const char *ring, size_t ring_len, const char *subscription, size_t subscription_len)
{
    unsigned char hello[sizeof(struct aqd_abi_hello)] = {0};
    memcpy(hello, AQD_HELLO_MAGIC, AQD_MAGIC_BYTES);
    aqd_put16(hello + offsetof(struct aqd_abi_hello, abi_major), AQD_ABI_MAJOR);
    aqd_put16(hello + offsetof(struct aqd_abi_hello, abi_minor), AQD_PACKET_MINOR);
    aqd_put32(hello + offsetof(struct aqd_abi_hello, kind), c->kind);
    memcpy(hello + offsetof(struct aqd_abi_hello, ring), ring, ring_len);
    memcpy(hello + offsetof(struct aqd_abi_hello, subscription), subscription, subscription_len);
    if (send(c->fd, hello, sizeof hello, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof hello) {
        /* A listener that refuses before it has heard us may already have answered and gone: then
         * its answer is still there. */
        return errno == EPIPE || errno == ECONNRESET ? AQD_OK : fail_errno(c, "send");
    }
    return AQD_OK;
}

/* Takes whatever descriptors came with a packet. */
static void take_fds(struct msghdr *message, struct answer *a)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
            if (a->n_fds < FDS_MAX) {
                a->fds[a->n_fds++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

/* One packet of at most cap bytes, before the deadline. */
static aqd_status receive(aqd_client *c, void *bytes, size_t cap, int64_t deadline_ms, struct answer *a, size_t *len, bool *cut)
{
    for (bool reset = false;;) {
        union {
            struct cmsghdr align;
            unsigned char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        } control;
        struct iovec part = {.iov_base = bytes, .iov_len = cap};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(c->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got >= 0) {
            take_fds(&message, a);
            *len = (size_t)got;
            *cut = (message.msg_flags & MSG_TRUNC) != 0;
            if ((message.msg_flags & MSG_CTRUNC) != 0) {
                /* There is room for as many as a packet can carry, so it is this process that can
                 * hold no more. */
                errno = EMFILE;
                return fail_errno(c, "recvmsg: not every descriptor arrived");
            }
            return got > 0 ? AQD_OK : fail(c, AQD_ERR_HANGUP, "the listener hung up during the handshake");
        }
        if (errno == ECONNRESET && !reset) {
            reset = true; /* it closed without reading our hello; what it sent before that comes after the error */
            continue;
        }
        if (errno == ECONNRESET || errno == EPIPE) {
            return fail(c, AQD_ERR_HANGUP, "the listener hung up during the handshake");
        }
        if (errno != EAGAIN && errno != EINTR) {
            return fail_errno(c, "recvmsg");
        }
        aqd_status status = aqd_sleep_on(c, c->fd, deadline_ms);
        if (status != AQD_OK && status != AQD_EMPTY) {
            return status;
        }
        if (status == AQD_EMPTY && deadline_ms >= 0 && aqd_now_ms() >= deadline_ms) {
            return fail_timeout(c);
        }
    }
}

/* The listener's words go to terminals and logs: no control bytes in them. */
static void keep_message(aqd_client *c, const unsigned char *message)
{
    size_t i = 0;
    for (; i < AQD_MESSAGE_BYTES && message[i] != 0; i++) {
        c->message[i] = message[i] < 0x20 || message[i] == 0x7F ? '?' : (char)message[i];
    }
    c->message[i] = '\0';
    c->error_number = 0;
}

static aqd_status hear_welcome(aqd_client *c, int64_t deadline_ms, struct answer *a)
{
    unsigned char w[sizeof(struct aqd_abi_welcome)] = {0};
    size_t len = 0;
    bool cut = false;
    aqd_status status = receive(c, w, sizeof w, deadline_ms, a, &len, &cut);
    if (status != AQD_OK) {
        return status;
    }
    if (len != sizeof w || cut || memcmp(w, AQD_WELCOME_MAGIC, AQD_MAGIC_BYTES) != 0) {
        return fail(c, AQD_ERR_PROTOCOL, "the answer of %zu bytes is not a welcome", len);
    }
    uint16_t major = aqd_get16(w + offsetof(struct aqd_abi_welcome, abi_major));
    if (major != AQD_ABI_MAJOR) {
        return fail(c, AQD_ERR_VERSION, "the listener speaks ABI %u; this client speaks ABI %d", major, AQD_ABI_MAJOR);
    }
    c->refusal = aqd_get32(w + offsetof(struct aqd_abi_welcome, status));
    if (c->refusal != AQD_WELCOME_ATTACHED) {
        keep_message(c, w + offsetof(struct aqd_abi_welcome, message));
        return AQD_ERR_REFUSED;
    }
    size_t due = c->observing ? 1 : 2;
    if (a->n_fds != due) {
        return fail(c, AQD_ERR_PROTOCOL, "the welcome carries %zu descriptors instead of %zu", a->n_fds, due);
    }
    a->ring_bytes = aqd_get64(w + offsetof(struct aqd_abi_welcome, ring_bytes));
    a->cursor_bytes = aqd_get32(w + offsetof(struct aqd_abi_welcome, cursor_bytes));
    return AQD_OK;
}

/* Maps a segment that cannot be shortened: without that seal its owner could turn our next load
 * into a SIGBUS. */
static aqd_status map_segment(aqd_client *c, const char *name, int fd, uint64_t bytes, int protection, void **mapping, size_t *mapped)
{
    struct stat about;
    if (fstat(fd, &about) != 0) {
        return fail_errno(c, "fstat");
    }
    if (bytes == 0 || bytes > SIZE_MAX || about.st_size < 0 || (uint64_t)about.st_size < bytes) {
        return fail(c, AQD_ERR_SIZE, "the %s segment has %lld bytes; the welcome says %llu", name, (long long)about.st_size,
                    (unsigned long long)bytes);
    }
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
        return fail(c, AQD_ERR_NOT_SEALED, "the %s segment is not sealed against shrinking", name);
    }
    void *at = mmap(NULL, (size_t)bytes, protection, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        return fail_errno(c, "mmap");
    }
    *mapping = at;
    *mapped = (size_t)bytes;
    return AQD_OK;
}

static aqd_status map_both(aqd_client *c, const struct answer *a)
{
    struct aqd_segments *to = &c->segments;
    aqd_status status = map_segment(c, "ring", a->fds[0], a->ring_bytes, PROT_READ, &to->ring, &to->ring_bytes);
    if (status == AQD_OK && !c->observing) {
        status = map_segment(c, "cursor", a->fds[1], a->cursor_bytes, PROT_READ | PROT_WRITE, &to->cursor, &to->cursor_bytes);
    }
    if (status != AQD_OK) {
        return status;
    }
    status = c->observing ? aqd_observer_init(&c->observer, to->ring, to->ring_bytes)
                          : aqd_reader_init(&c->reader, to->ring, to->ring_bytes, to->cursor, to->cursor_bytes);
    return status == AQD_OK ? AQD_OK : fail(c, status, "%s", aqd_strerror(status));
}

aqd_status aqd_watch(aqd_client *c, int fd, uint32_t events)
{
    struct epoll_event on = {.events = events};
    return epoll_ctl(c->set_fd, EPOLL_CTL_ADD, fd, &on) == 0 ? AQD_OK : fail_errno(c, "epoll_ctl");
}

aqd_status aqd_attach_begin(aqd_client *c, int64_t deadline_ms)
{
    aqd_status status = dial(c, &c->address, deadline_ms);
    if (status == AQD_OK) {
        status = aqd_watch(c, c->fd, EPOLLIN | EPOLLRDHUP);
    }
    if (status == AQD_OK) {
        status = say_hello(c, c->ring_name, strlen(c->ring_name), c->subscription, strlen(c->subscription));
    }
    return status;
}

aqd_status aqd_attach_finish(aqd_client *c, int64_t deadline_ms)
{
    struct answer a = {.n_fds = 0};
    aqd_status status = hear_welcome(c, deadline_ms, &a);
    if (status == AQD_OK) {
        status = map_both(c, &a);
    }
    for (size_t i = 0; i < a.n_fds; i++) {
        close(a.fds[i]);
    }
    return status;
}

aqd_status aqd_attach_fds(aqd_client *c, int ring_fd, int cursor_fd)
{
    struct answer a = {.fds = {ring_fd, cursor_fd}, .n_fds = c->observing ? 1 : 2};
    struct stat about;
    if (fstat(ring_fd, &about) != 0) {
        return fail_errno(c, "fstat");
    }
    a.ring_bytes = (uint64_t)about.st_size;
    if (!c->observing && fstat(cursor_fd, &about) != 0) {
        return fail_errno(c, "fstat");
    }
    a.cursor_bytes = (uint64_t)about.st_size < UINT32_MAX ? (uint32_t)about.st_size : UINT32_MAX;
    return map_both(c, &a);
}
