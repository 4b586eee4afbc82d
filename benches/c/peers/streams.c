/* A pipe and a UNIX stream socket. The receiver reads as much as there is. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "medium.h"

#define READ_BYTES ((size_t)64 << 10)

struct stream {
    int from, into;
    bool busy;
    size_t start, end, cap; /* INVARIANT: start <= end <= cap; unread bytes of buf are start..end */
    unsigned char *buf;
};

static struct stream *stream_of(int from, int into, size_t bytes, bool busy)
{
    struct stream *s = allocate(sizeof *s);
    *s = (struct stream){ .from = from, .into = into, .busy = busy, .cap = (bytes < READ_BYTES ? READ_BYTES : bytes) * 2 };
    s->buf = allocate(s->cap);
    if (busy && fcntl(from, F_SETFL, O_NONBLOCK) != 0) {
        fail("O_NONBLOCK");
    }
    return s;
}

static void *pipe_make(size_t bytes, bool busy, int id)
{
    (void)id;
    int ends[2];
    if (pipe(ends) != 0) {
        fail("pipe");
    }
    (void)fcntl(ends[1], F_SETPIPE_SZ, (int)CAPACITY_BYTES); /* beyond the limit of the system: what the kernel gives */
    return stream_of(ends[0], ends[1], bytes, busy);
}

static void *unix_make(size_t bytes, bool busy, int id)
{
    (void)id;
    int ends[2], size = (int)CAPACITY_BYTES;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        fail("socketpair");
    }
    (void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return stream_of(ends[0], ends[1], bytes, busy);
}

static void stream_join(void *channel, enum side side)
{
    struct stream *s = channel;
    close(side == SENDING ? s->from : s->into);
}

static void stream_send(void *channel, const void *message, size_t bytes)
{
    struct stream *s = channel;
    const unsigned char *from = message;
    while (bytes > 0) {
        ssize_t sent = write(s->into, from, bytes);
        if (sent < 0 && errno != EINTR) {
            fail("write");
        }
        if (sent > 0) {
            from += sent;
            bytes -= (size_t)sent;
        }
    }
}

static void stream_receive(void *channel, void *message, size_t bytes)
{
    struct stream *s = channel;
    uint32_t tries = 0;
    while (s->end - s->start < bytes) {
        memmove(s->buf, s->buf + s->start, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
        ssize_t got = read(s->from, s->buf + s->end, s->cap - s->end);
        if (got > 0) {
            s->end += (size_t)got;
        } else if (got < 0 && s->busy && errno == EAGAIN) {
            pause_for(&tries);
        } else if (got == 0 || errno != EINTR) {
            fail("read");
        }
    }
    memcpy(message, s->buf + s->start, bytes);
    s->start += bytes;
}

const struct medium pipe_medium = { "pipe", pipe_make, stream_join, stream_send, stream_receive };
const struct medium unix_medium = { "unix", unix_make, stream_join, stream_send, stream_receive };
