/* Slots in POSIX shared memory between two semaphores: what one builds without knowing better.
 * Payloads are not checked. The Go server includes this, and so does its reader. */
#ifndef MEDIUM_H
#define MEDIUM_H

#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* As many bytes as the listener's ring has. */
#define SLOTS 2048u
#define SLOT_BYTES 8184u

struct slot {
    uint32_t bytes;
    uint32_t unused;
    unsigned char payload[SLOT_BYTES];
};

struct medium {
    sem_t full, empty;
    /* The server's only. */
    uint64_t put;
    struct slot slots[SLOTS];
};

/* Maps the segment of this name; the server makes it. NULL on failure. */
static inline struct medium *medium_open(const char *name, int make)
{
    int fd = shm_open(name, make ? O_RDWR | O_CREAT | O_EXCL : O_RDWR, 0600);
    if (fd < 0 || (make && ftruncate(fd, sizeof(struct medium)) != 0)) {
        return NULL;
    }
    void *at = mmap(NULL, sizeof(struct medium), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) {
        return NULL;
    }
    struct medium *m = at;
    if (make && (sem_init(&m->full, 1, 0) != 0 || sem_init(&m->empty, 1, SLOTS) != 0)) {
        return NULL;
    }
    return m;
}

/* Puts one record; its number, or -1 if there is no room. One caller at a time. */
static inline int64_t medium_put(struct medium *m, const void *payload, uint32_t bytes)
{
    if (bytes > SLOT_BYTES || sem_trywait(&m->empty) != 0) {
        return -1;
    }
    struct slot *slot = &m->slots[m->put % SLOTS];
    slot->bytes = bytes;
    memcpy(slot->payload, payload, bytes);
    sem_post(&m->full);
    return (int64_t)m->put++;
}

#endif
