/* A POSIX message queue, and ZeroMQ over ipc. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "medium.h"

struct queue {
    mqd_t mq;
    bool busy;
    size_t piece; /* bytes of the longest message that the system allows, or of ours if it is shorter */
    unsigned char *buf; /* piece bytes */
};

static size_t longest_message(void)
{
    size_t bytes = 8192; /* of Linux, if it does not say */
    FILE *file = fopen("/proc/sys/fs/mqueue/msgsize_max", "r");
    if (file) {
        if (fscanf(file, "%zu", &bytes) != 1) {
            fail("fs.mqueue.msgsize_max");
        }
        fclose(file);
    }
    return bytes;
}

static void *mqueue_make(size_t bytes, bool busy, int id)
{
    char name[64];
    struct queue *q = allocate(sizeof *q);
    size_t longest = longest_message();
    q->busy = busy;
    q->piece = bytes < longest ? bytes : longest;
    q->buf = allocate(q->piece);
    snprintf(name, sizeof name, "/aqueduct-peers-%d-%d", (int)getpid(), id);
    /* As deep as the system allows: privileged users are not held to msg_max, which is 10. */
    long depth = (long)room_for(q->piece);
    do {
        struct mq_attr attributes = { .mq_maxmsg = depth, .mq_msgsize = (long)q->piece };
        q->mq = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attributes);
        depth /= 2;
    } while (q->mq == (mqd_t)-1 && depth > 0);
    if (q->mq == (mqd_t)-1 || mq_unlink(name) != 0) {
        fail("mq_open");
    }
    return q;
}

static void mqueue_join(void *channel, enum side side)
{
    struct queue *q = channel;
    /* O_NONBLOCK belongs to the open queue, which both processes share: they part here. */
    if (q->busy && side == RECEIVING) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", (int)q->mq);
        q->mq = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (q->mq < 0) {
            fail("the queue again, not blocking");
        }
    }
}

/* What is too long for one message goes in several. */
static void mqueue_send(void *channel, const void *message, size_t bytes)
{
    struct queue *q = channel;
    for (size_t at = 0; at < bytes; at += q->piece) {
        size_t piece = bytes - at < q->piece ? bytes - at : q->piece;
        if (mq_send(q->mq, (const char *)message + at, piece, 0) != 0) {
            fail("mq_send");
        }
    }
}

static void mqueue_receive(void *channel, void *message, size_t bytes)
{
    struct queue *q = channel;
    uint32_t tries = 0;
    for (size_t at = 0; at < bytes;) {
        ssize_t got = mq_receive(q->mq, (char *)q->buf, q->piece, NULL);
        if (got > 0 && (size_t)got <= bytes - at) {
            memcpy((char *)message + at, q->buf, (size_t)got);
            at += (size_t)got;
        } else if (got < 0 && q->busy && errno == EAGAIN) {
            pause_for(&tries);
        } else {
            fail("mq_receive");
        }
    }
}

const struct medium mqueue_medium = { "mqueue", mqueue_make, mqueue_join, mqueue_send, mqueue_receive };

struct zeromq {
    void *socket;
    bool busy;
    char address[96];
};

static void *zmq_make(size_t bytes, bool busy, int id)
{
    (void)bytes;
    struct zeromq *z = allocate(sizeof *z);
    z->busy = busy;
    snprintf(z->address, sizeof z->address, "ipc:///tmp/aqueduct-peers-%d-%d", (int)getpid(), id);
    return z;
}

/* A context does not survive a fork, so each process makes its own. High-water marks stay at 1000
 * messages, as the manual has them. */
static void zmq_join(void *channel, enum side side)
{
    struct zeromq *z = channel;
    void *context = zmq_ctx_new();
    z->socket = context ? zmq_socket(context, side == SENDING ? ZMQ_PUSH : ZMQ_PULL) : NULL;
    int linger_ms = 10000; /* what was sent still arrives when the sender ends first */
    if (!z->socket || zmq_setsockopt(z->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms) != 0 ||
        (side == SENDING ? zmq_connect(z->socket, z->address) : zmq_bind(z->socket, z->address)) != 0) {
        fail("ZeroMQ");
    }
}

static void zmq_send_message(void *channel, const void *message, size_t bytes)
{
    struct zeromq *z = channel;
    if (zmq_send(z->socket, message, bytes, 0) != (int)bytes) {
        fail("zmq_send");
    }
}

static void zmq_receive_message(void *channel, void *message, size_t bytes)
{
    struct zeromq *z = channel;
    uint32_t tries = 0;
    int got;
    while ((got = zmq_recv(z->socket, message, bytes, z->busy ? ZMQ_DONTWAIT : 0)) < 0 && z->busy && errno == EAGAIN) {
        pause_for(&tries);
    }
    if (got != (int)bytes) {
        fail("zmq_recv");
    }
}

const struct medium zmq_medium = { "zmq", zmq_make, zmq_join, zmq_send_message, zmq_receive_message };
