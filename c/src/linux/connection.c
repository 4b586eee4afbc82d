/* Contracts: connection.h. */
#include "../compiler.h"

#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "clock.h"
#include "failure.h"

/* Packets taken from the socket at one go: a listener that never stops sending does not keep us
 * here. */
#define DRAIN_MAX 256
/* By one system call. */
#define DRAIN_AT_ONCE 8

aqd_status aqd_fail_timeout(aqd_client *c) { return aqd_fail(c, AQD_ERR_TIMEOUT, "the listener did not answer in time"); }

aqd_status aqd_watch(aqd_client *c, int fd, uint32_t events)
{
    struct epoll_event on = {.events = events, .data = {.fd = fd}};
    return epoll_ctl(c->set_fd, EPOLL_CTL_ADD, fd, &on) == 0 ? AQD_OK : aqd_fail_errno(c, "epoll_ctl", errno);
}

aqd_status aqd_sleep_on(aqd_client *c, int fd, int64_t deadline_ms)
{
    struct pollfd on[] = {{.fd = fd, .events = POLLIN}, {.fd = c->stop_fd, .events = POLLIN}};
    int ready = poll(on, 2, aqd_poll_ms(deadline_ms, AQD_SLEEP_SLICE_MS));
    if (ready < 0) {
        int why = errno;
        return why == EINTR ? AQD_EMPTY : aqd_fail_errno(c, "poll", why);
    }
    if (ready == 0) {
        return AQD_EMPTY;
    }
    if (on[0].revents != 0) {
        return AQD_OK;
    }
    if ((on[1].revents & POLLNVAL) != 0) {
        return aqd_fail_errno(c, "stop_fd", EBADF);
    }
    return AQD_INTERRUPTED;
}

/* A UNIX socket's connect waits while the listener's backlog is full; SO_SNDTIMEO bounds that. */
static aqd_status connect_until(aqd_client *c, int64_t deadline_ms)
{
    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        return aqd_fail_errno(c, "socket", errno);
    }
    do {
        int wait_ms = aqd_poll_ms(deadline_ms, AQD_SLEEP_SLICE_MS);
        struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 + 1}; /* 0 would mean for ever */
        if (setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) != 0) {
            return aqd_fail_errno(c, "setsockopt", errno);
        }
        if (connect(c->fd, (const struct sockaddr *)&c->address, sizeof c->address) == 0) {
            return AQD_OK;
        }
        int why = errno;
        if (why != EAGAIN && why != EINTR) {
            return aqd_fail_errno(c, "connect", why);
        }
        aqd_status status = c->stop_fd >= 0 ? aqd_sleep_on(c, -1, 0) : AQD_EMPTY;
        if (status != AQD_EMPTY) {
            return status;
        }
    } while (deadline_ms < 0 || aqd_now_ms() < deadline_ms);
    return aqd_fail_timeout(c);
}

aqd_status aqd_dial(aqd_client *c, int64_t deadline_ms)
{
    aqd_status status = connect_until(c, deadline_ms);
    return status == AQD_OK ? aqd_watch(c, c->fd, EPOLLIN | EPOLLRDHUP) : status;
}

aqd_status aqd_send_packet(aqd_client *c, const void *bytes, size_t len)
{
    if (send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len) {
        int why = errno;
        /* A listener that refuses before it has heard us may already have answered and gone: then
         * its answer is still there. */
        return why == EPIPE || why == ECONNRESET ? AQD_OK : aqd_fail_errno(c, "send", why);
    }
    return AQD_OK;
}

/* musl's macro mixes signed and unsigned. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
static struct cmsghdr *next_control(struct msghdr *message, struct cmsghdr *control) { return CMSG_NXTHDR(message, control); }
#pragma GCC diagnostic pop

/* Takes whatever descriptors came with a packet. */
static void take_fds(struct msghdr *message, struct aqd_packet *into)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = next_control(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
            if (into->n_fds < AQD_FDS_MAX) {
                into->fds[into->n_fds++] = fd;
            } else {
                close(fd);
            }
        }
    }
}

aqd_status aqd_receive(aqd_client *c, void *bytes, size_t cap, int64_t deadline_ms, struct aqd_packet *into)
{
    for (bool reset = false;;) {
        union {
            struct cmsghdr align;
            unsigned char bytes[CMSG_SPACE(AQD_FDS_MAX * sizeof(int))];
        } control;
        struct iovec part = {.iov_base = bytes, .iov_len = cap};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(c->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got >= 0) {
            take_fds(&message, into);
            into->len = (size_t)got;
            into->cut = (message.msg_flags & MSG_TRUNC) != 0;
            if ((message.msg_flags & MSG_CTRUNC) != 0) {
                /* There is room for as many as a packet can carry, so it is this process that can
                 * hold no more. */
                return aqd_fail_errno(c, "recvmsg: not every descriptor arrived", EMFILE);
            }
            return got > 0 ? AQD_OK : aqd_fail(c, AQD_ERR_HANGUP, "the listener hung up during the handshake");
        }
        int why = errno;
        if (why == ECONNRESET && !reset) {
            reset = true; /* it closed without reading our hello; what it sent before that comes after the error */
            continue;
        }
        if (why == ECONNRESET || why == EPIPE) {
            return aqd_fail(c, AQD_ERR_HANGUP, "the listener hung up during the handshake");
        }
        if (why != EAGAIN && why != EINTR) {
            return aqd_fail_errno(c, "recvmsg", why);
        }
        aqd_status status = aqd_sleep_on(c, c->fd, deadline_ms);
        if (status != AQD_OK && status != AQD_EMPTY) {
            return status;
        }
        if (status == AQD_EMPTY && deadline_ms >= 0 && aqd_now_ms() >= deadline_ms) {
            return aqd_fail_timeout(c);
        }
    }
}

/* Whether the connection has ended. By poll's answer and not by an errno: a signal handler that
 * does not preserve that could make a lost connection of a socket that is only empty. */
static bool has_ended(int fd)
{
    struct pollfd on = {.fd = fd, .events = POLLRDHUP};
    return poll(&on, 1, 0) == 1;
}

/* Whatever the packets say: a wake-up needs no reading, and later minors may add others. */
bool aqd_drain(aqd_client *c)
{
    bool any = false;
    for (int i = 0; i < DRAIN_MAX / DRAIN_AT_ONCE && c->fd >= 0; i++) {
        unsigned char packets[DRAIN_AT_ONCE][16];
        struct iovec parts[DRAIN_AT_ONCE];
        struct mmsghdr messages[DRAIN_AT_ONCE];
        memset(messages, 0, sizeof messages);
        for (size_t k = 0; k < DRAIN_AT_ONCE; k++) {
            parts[k] = (struct iovec){.iov_base = packets[k], .iov_len = sizeof packets[k]};
            messages[k].msg_hdr.msg_iov = &parts[k];
            messages[k].msg_hdr.msg_iovlen = 1;
        }
        int got = recvmmsg(c->fd, messages, DRAIN_AT_ONCE, MSG_DONTWAIT, NULL);
        int why = errno;
        any = any || got > 0;
        if (got > 0 && messages[got - 1].msg_len > 0) {
            if (got < DRAIN_AT_ONCE) {
                return true;
            }
            continue;
        }
        if (got < 0 && why == EINTR) {
            continue;
        }
        if (got < 0 && why == EAGAIN) {
            return any;
        }
        /* Nothing at all, an empty packet, or an errno that says otherwise. */
        if (has_ended(c->fd)) {
            c->hung_up = true;
            aqd_disconnect(c); /* out of the set, where it would be readable for ever */
            return true;
        }
        if (got < 0) {
            return any;
        }
    }
    return any;
}

void aqd_tell_space(aqd_client *c)
{
    /* One that does not fit is as good as sent: the listener has unread ones and will look. One
     * that meets a closed socket is noticed when the socket is read. */
    const unsigned char packet = AQD_PACKET_SPACE;
    (void)!send(c->fd, &packet, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void aqd_disconnect(aqd_client *c)
{
    if (c->fd < 0) {
        return;
    }
    if (getpid() == c->owner) {
        /* Said aloud, because a forked child may hold a copy of the descriptor, which would keep
         * the connection and the place in the set. A child says nothing: socket and set are its
         * parent's. */
        epoll_ctl(c->set_fd, EPOLL_CTL_DEL, c->fd, NULL);
        shutdown(c->fd, SHUT_RDWR);
    }
    close(c->fd);
    c->fd = -1;
}
