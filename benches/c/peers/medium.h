/* What every peer offers: a channel from one process to one other that carries messages of one
 * known length. A batch of records is one message everywhere, for that is what these media would do
 * with it. */
#ifndef PEERS_MEDIUM_H
#define PEERS_MEDIUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum side { SENDING, RECEIVING };

struct medium {
    const char *name;
    /* Before the processes part. `bytes`: of a message; `busy`: its receiver polls instead of
     * sleeping; `id`: tells channels of one run apart. */
    void *(*make)(size_t bytes, bool busy, int id);
    /* In each of the two processes, before anything else. NULL: nothing to do. */
    void (*join)(void *channel, enum side side);
    /* Blocks while there is no room. */
    void (*send)(void *channel, const void *message, size_t bytes);
    /* Waits, busy or asleep as the channel was made, and copies one message out. */
    void (*receive)(void *channel, void *message, size_t bytes);
};

extern const struct medium pipe_medium, unix_medium;                /* streams.c */
extern const struct medium mqueue_medium, zmq_medium;               /* queues.c */
extern const struct medium condition_medium, semaphore_medium;      /* recipes.c */
extern const struct medium line_medium, futex_medium;               /* bare.c: limits, one word instead of a message */

/* Bytes that a channel may hold, as the data area of the ring; at least two messages. */
#define CAPACITY_BYTES ((size_t)4 << 20)

static inline size_t room_for(size_t bytes)
{
    size_t messages = CAPACITY_BYTES / bytes;
    return messages < 2 ? 2 : messages;
}

/* main.c */
_Noreturn void fail(const char *what);
void *allocate(size_t bytes);
/* Zeroed memory that both processes see: POSIX shared memory whose name is gone again. */
void *share(size_t bytes, int id);

/* A step of a busy wait. A side that was preempted is not in the other's way for long. */
void pause_for(uint32_t *tries);

#endif
