/* A ring writer for tests, from ABI.md alone. Single-threaded: it trusts itself to keep the
 * protocol and can be told to break it. Its CRC is the bitwise oracle, so no byte it writes depends
 * on the code under test. */
#ifndef AQUEDUCT_TESTS_WRITER_H
#define AQUEDUCT_TESTS_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "../src/bytes.h"
#include "aqueduct/abi.h"

/* The definition: one bit at a time. */
static inline uint32_t oracle_crc32_update(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    for (size_t i = 0; i < len; i++) {
        state ^= at[i];
        for (int bit = 0; bit < 8; bit++) {
            state = (state >> 1) ^ (state & 1 ? UINT32_C(0xEDB88320) : 0);
        }
    }
    return state;
}

static inline uint32_t oracle_crc32(const void *bytes, size_t len) { return ~oracle_crc32_update(UINT32_C(0xFFFFFFFF), bytes, len); }

struct writer {
    unsigned char *ring;
    unsigned char *cursor;
    uint64_t epoch;
    uint64_t seq;
    uint32_t capacity;
    uint32_t data_offset;
    uint32_t tail; /* claimed; the shared word follows by writer_publish */
};

static inline void writer_seal_header(unsigned char *ring) { aqd_put32(ring + 124, oracle_crc32(ring, 124)); }

static inline void writer_seal_identity(unsigned char *cursor) { aqd_put32(cursor + 60, oracle_crc32(cursor, 60)); }

/* Formats both segments: a ring called "demo" and a cursor called "tail", both at position
 * start. */
static inline void writer_format(struct writer *w, unsigned char *ring, unsigned char *cursor, uint32_t capacity, uint32_t data_offset,
                                 uint64_t epoch, uint32_t start)
{
    memset(ring, 0, data_offset + (size_t)capacity * 32);
    memset(cursor, 0, 256);
    memcpy(ring, "AQUEDUCT", 8);
    aqd_put16(ring + 8, 1);
    aqd_put32(ring + 12, data_offset);
    aqd_put64(ring + 16, epoch);
    aqd_put64(ring + 24, UINT64_C(1700000000000000000));
    aqd_put32(ring + 32, capacity);
    aqd_put32(ring + 36, (capacity / 2 - 1) * 32);
    memcpy(ring + 48, "demo", 4);
    writer_seal_header(ring);
    aqd_put32(ring + 128, start);
    aqd_put32(ring + 192, start);
    memcpy(cursor, "AQDCURSR", 8);
    aqd_put16(cursor + 8, 1);
    aqd_put64(cursor + 16, epoch);
    memcpy(cursor + 24, "tail", 4);
    writer_seal_identity(cursor);
    aqd_put32(cursor + 64, start);
    *w = (struct writer){.ring = ring, .cursor = cursor, .epoch = epoch, .capacity = capacity, .data_offset = data_offset, .tail = start};
}

static inline unsigned char *writer_at(const struct writer *w, uint32_t position)
{
    return w->ring + w->data_offset + (size_t)(position & (w->capacity - 1)) * 32;
}

static inline void writer_seal_record(const struct writer *w, uint32_t position)
{
    unsigned char bytes[40];
    aqd_put64(bytes, w->epoch);
    aqd_put32(bytes + 8, position);
    memcpy(bytes + 12, writer_at(w, position), 28);
    aqd_put32(writer_at(w, position) + 28, oracle_crc32(bytes, sizeof bytes));
}

/* One record exactly at the claimed tail, whatever stands there and wherever it ends. Returns its
 * position. */
static inline uint32_t writer_raw(struct writer *w, uint8_t kind, uint16_t type, uint64_t seq, uint64_t timestamp_ns, const void *payload,
                                  uint32_t len)
{
    uint32_t position = w->tail;
    unsigned char *at = writer_at(w, position);
    aqd_put32(at, len);
    at[4] = kind;
    at[5] = 0;
    aqd_put16(at + 6, type);
    aqd_put64(at + 8, seq);
    aqd_put64(at + 16, timestamp_ns);
    aqd_put32(at + 24, kind == AQD_KIND_DATA ? oracle_crc32(payload, len) : 0);
    if (payload) {
        memcpy(at + 32, payload, len);
    }
    writer_seal_record(w, position);
    w->tail += 1 + (len + 31) / 32;
    return position;
}

/* A DATA record, behind a PAD if it would cross the end. */
static inline uint32_t writer_data(struct writer *w, uint16_t type, const void *payload, uint32_t len)
{
    uint32_t room = w->capacity - (w->tail & (w->capacity - 1));
    if (1 + (len + 31) / 32 > room) {
        writer_raw(w, AQD_KIND_PAD, 0, w->seq, 0, NULL, (room - 1) * 32);
    }
    return writer_raw(w, AQD_KIND_DATA, type, w->seq++, 0, payload, len);
}

/* A record with attributes: this many units of the len bytes are their block. Never crosses the
 * end. */
static inline uint32_t writer_attributed(struct writer *w, uint16_t type, const void *bytes, uint32_t len, uint8_t units)
{
    uint32_t position = writer_raw(w, AQD_KIND_DATA_ATTRIBUTES, type, w->seq++, 0, bytes, len);
    writer_at(w, position)[5] = units;
    aqd_put32(writer_at(w, position) + 24, oracle_crc32(bytes, len));
    writer_seal_record(w, position);
    return position;
}

static inline uint32_t writer_discard(struct writer *w, uint32_t len) { return writer_raw(w, AQD_KIND_DISCARD, 0, w->seq, 0, NULL, len); }

static inline void writer_publish(const struct writer *w)
{
    __atomic_store_n((uint32_t *)(void *)(w->ring + AQD_RING_NEXT_SEQ), aqd_le32((uint32_t)w->seq), __ATOMIC_RELAXED);
    __atomic_store_n((uint32_t *)(void *)(w->ring + AQD_RING_TAIL), aqd_le32(w->tail), __ATOMIC_RELEASE);
}

static inline void writer_close(struct writer *w)
{
    __atomic_store_n((uint32_t *)(void *)(w->ring + AQD_RING_STATE), aqd_le32(1), __ATOMIC_RELEASE);
    writer_discard(w, 0);
    writer_publish(w);
}

#endif
