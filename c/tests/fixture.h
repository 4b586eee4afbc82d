/* A ring in memory of exactly its size, so that AddressSanitizer sees the first byte read beyond
 * it. */
#ifndef AQUEDUCT_TESTS_FIXTURE_H
#define AQUEDUCT_TESTS_FIXTURE_H

#include <stdlib.h>

#include "aqueduct/reader.h"
#include "check.h"
#include "writer.h"

#define EPOCH UINT64_C(0x0123456789ABCDEF)
#define OFFSET 256u

struct fixture {
    struct writer w;
    aqd_reader r;
    unsigned char *ring;
    unsigned char *cursor;
    size_t ring_bytes;
};

static inline aqd_status fixture_attach(struct fixture *f)
{
    return aqd_reader_init(&f->r, f->ring, f->ring_bytes, f->cursor, AQD_CURSOR_BYTES_MIN);
}

/* An empty ring and a reader on it, both at position start. */
static inline void fixture_make(struct fixture *f, uint32_t capacity, uint32_t start)
{
    f->ring_bytes = OFFSET + (size_t)capacity * AQD_GRANULE_BYTES;
    f->ring = aligned_alloc(64, f->ring_bytes);
    f->cursor = aligned_alloc(64, AQD_CURSOR_BYTES_MIN);
    if (!f->ring || !f->cursor) {
        abort();
    }
    writer_format(&f->w, f->ring, f->cursor, capacity, OFFSET, EPOCH, start);
    CHECK_EQ(fixture_attach(f), AQD_OK);
}

static inline void fixture_free(struct fixture *f)
{
    free(f->ring);
    free(f->cursor);
}

static inline uint32_t cursor_word(const struct fixture *f, size_t at) { return aqd_get32(f->cursor + at); }

/* Reads one record and compares it. */
static inline void expect_record(struct fixture *f, uint64_t seq, const void *payload, uint32_t len)
{
    unsigned char buf[1024];
    aqd_record rec = {0};
    CHECK_EQ(aqd_reader_next(&f->r, buf, sizeof buf, &rec), AQD_OK);
    CHECK_EQ(rec.seq, seq);
    CHECK_EQ(rec.len, len);
    CHECK(rec.len == len && memcmp(buf, payload, len) == 0);
}

static inline void expect_status(struct fixture *f, aqd_status status)
{
    unsigned char buf[1024];
    aqd_record rec = {0};
    CHECK_EQ(aqd_reader_next(&f->r, buf, sizeof buf, &rec), status);
}

#endif
