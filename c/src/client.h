/* What the two halves of the Linux client share: attach.c makes a client, client.c uses it. */
#ifndef AQUEDUCT_CLIENT_PRIVATE_H
#define AQUEDUCT_CLIENT_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aqueduct/client.h"

struct aqd_client {
    aqd_reader reader; /* INVARIANT: initialised if and only if aqd_open succeeded */
    void *ring;        /* INVARIANT: NULL or a mapping of ring_bytes */
    void *cursor;      /* INVARIANT: NULL or a mapping of cursor_bytes */
    size_t ring_bytes;
    size_t cursor_bytes;
    int fd; /* INVARIANT: -1 or the connected socket */
    bool hung_up;
    uint32_t empty_calls; /* in a row, for a look at the socket now and then */
    uint32_t refusal;
    char message[160];
};

/* Unmaps and disconnects; again does nothing. */
void aqd_detach(aqd_client *c);

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t aqd_now_ms(void);

/* How long poll may still sleep: 0..slice_ms; deadline_ms < 0: no deadline. */
int aqd_poll_ms(int64_t deadline_ms, int slice_ms);

#endif
