/* One look at a record header in shared memory: loaded once, judged on the copy (ABI 3). For what reads without consuming; reader.c
 * has the same rule in its own form, beside the reader's state. Next: lag.c, observer.c. */
#ifndef AQUEDUCT_RECORD_H
#define AQUEDUCT_RECORD_H

#include <stdbool.h>

#include "aqueduct/reader.h"
#include "bytes.h"
#include "crc32.h"
#include "load.h"

struct aqd_view {
    const unsigned char *data; /* INVARIANT: capacity granules from here are inside the ring segment */
    uint32_t capacity;         /* INVARIANT: a power of two */
    uint32_t max_payload;
    uint32_t epoch_crc;
};

struct aqd_header {
    aqd_record record;
    uint32_t granules; /* that the record takes, this header included */
    uint32_t payload_crc;
    uint32_t stored_crc;
    uint32_t computed_crc;
    uint8_t kind;
};

static inline const unsigned char *aqd_view_granule(const struct aqd_view *v, uint64_t position)
{
    return v->data + (size_t)((uint32_t)position & (v->capacity - 1)) * AQD_GRANULE_BYTES;
}

/* Granules of a record with this payload. */
static inline uint32_t aqd_granules(uint32_t len) { return 1 + len / AQD_GRANULE_BYTES + (len % AQD_GRANULE_BYTES != 0); }

/* Loads the header at a position before tail, which is at most the capacity ahead; true if it is valid there. */
static inline bool aqd_view_header(const struct aqd_view *v, uint64_t position, uint64_t tail, struct aqd_header *h)
{
    uint64_t w[4];
    aqd_load_header(w, aqd_view_granule(v, position));
    h->record = (aqd_record){.seq = w[1],
                             .timestamp_ns = w[2],
                             .len = (uint32_t)w[0],
                             .type = (uint16_t)(w[0] >> 48),
                             .flags = (uint8_t)(w[0] >> 40)};
    h->kind = (uint8_t)(w[0] >> 32);
    h->granules = aqd_granules(h->record.len);
    h->payload_crc = (uint32_t)w[3];
    h->stored_crc = (uint32_t)(w[3] >> 32);
    /* The epoch is in epoch_crc; the position and the 28 bytes make 32, here moved four bytes on. */
    h->computed_crc = ~aqd_crc32_update_words(v->epoch_crc, (uint32_t)position | w[0] << 32, w[0] >> 32 | w[1] << 32,
                                              w[1] >> 32 | w[2] << 32, w[2] >> 32 | w[3] << 32);
    return h->computed_crc == h->stored_crc && h->granules <= tail - position
           && h->granules <= v->capacity - ((uint32_t)position & (v->capacity - 1))
           && (h->kind != AQD_KIND_DATA || h->record.len <= v->max_payload);
}

/* Whether position lies before mark, both being in use (ABI 1). */
static inline bool aqd_is_before(uint64_t position, uint32_t mark) { return (uint32_t)position - mark > UINT32_MAX / 2; }

#endif
