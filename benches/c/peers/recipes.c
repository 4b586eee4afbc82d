/* What textbooks do with shared memory: slots guarded by a process-shared mutex and conditions, or
 * between two semaphores. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "medium.h"

#define LINE _Alignas(64)

struct locked {
    LINE pthread_mutex_t lock;
    pthread_cond_t filled, freed;
    size_t head, tail; /* messages read and written; guarded by lock. INVARIANT: head <= tail <= head + slots */
    LINE size_t slots; /* constant */
    bool busy;         /* constant */
    LINE unsigned char data[];
};

static void *condition_make(size_t bytes, bool busy, int id)
{
    struct locked *c = share(sizeof *c + room_for(bytes) * bytes, id);
    pthread_mutexattr_t lock;
    pthread_condattr_t condition;
    if (pthread_mutexattr_init(&lock) != 0 || pthread_mutexattr_setpshared(&lock, PTHREAD_PROCESS_SHARED) != 0 ||
        pthread_mutex_init(&c->lock, &lock) != 0 || pthread_condattr_init(&condition) != 0 ||
        pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED) != 0 || pthread_cond_init(&c->filled, &condition) != 0 ||
        pthread_cond_init(&c->freed, &condition) != 0) {
        fail("a lock for two processes");
    }
    c->slots = room_for(bytes);
    c->busy = busy;
    return c;
}

static void condition_send(void *channel, const void *message, size_t bytes)
{
    struct locked *c = channel;
    pthread_mutex_lock(&c->lock);
    while (c->tail - c->head == c->slots) {
        pthread_cond_wait(&c->freed, &c->lock);
    }
    memcpy(c->data + c->tail % c->slots * bytes, message, bytes);
    c->tail++;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_signal(&c->filled);
}

static void condition_receive(void *channel, void *message, size_t bytes)
{
    struct locked *c = channel;
    uint32_t tries = 0;
    pthread_mutex_lock(&c->lock);
    while (c->tail == c->head) {
        if (c->busy) {
            pthread_mutex_unlock(&c->lock);
            pause_for(&tries);
            pthread_mutex_lock(&c->lock);
        } else {
            pthread_cond_wait(&c->filled, &c->lock);
        }
    }
    memcpy(message, c->data + c->head % c->slots * bytes, bytes);
    c->head++;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_signal(&c->freed);
}

const struct medium condition_medium = { "condition", condition_make, NULL, condition_send, condition_receive };

struct counted {
    LINE sem_t filled;
    LINE sem_t freed;
    LINE size_t head; /* the receiver's */
    LINE size_t tail; /* the sender's */
    LINE size_t slots;
    bool busy;
    LINE unsigned char data[];
};

static void *semaphore_make(size_t bytes, bool busy, int id)
{
    struct counted *c = share(sizeof *c + room_for(bytes) * bytes, id);
    c->slots = room_for(bytes);
    c->busy = busy;
    if (sem_init(&c->filled, 1, 0) != 0 || sem_init(&c->freed, 1, (unsigned)c->slots) != 0) {
        fail("a semaphore for two processes");
    }
    return c;
}

static void take(sem_t *semaphore, bool busy)
{
    uint32_t tries = 0;
    while ((busy ? sem_trywait(semaphore) : sem_wait(semaphore)) != 0) {
        if (busy && errno == EAGAIN) {
            pause_for(&tries);
        } else if (errno != EINTR) {
            fail("semaphore");
        }
    }
}

static void semaphore_send(void *channel, const void *message, size_t bytes)
{
    struct counted *c = channel;
    take(&c->freed, false);
    memcpy(c->data + c->tail++ % c->slots * bytes, message, bytes);
    sem_post(&c->filled);
}

static void semaphore_receive(void *channel, void *message, size_t bytes)
{
    struct counted *c = channel;
    take(&c->filled, c->busy);
    memcpy(message, c->data + c->head++ % c->slots * bytes, bytes);
    sem_post(&c->freed);
}

const struct medium semaphore_medium = { "semaphore", semaphore_make, NULL, semaphore_send, semaphore_receive };
