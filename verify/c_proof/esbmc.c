/* ESBMC's view of the reader: c/src/reader.c, reader_sleep.c and ring.c themselves, on a ring of
 * CAPACITY granules whose every load gives any value, from any state that the invariants allow.
 * CALL: 0 aqd_reader_next, 1 aqd_reader_view, 2 reader_resync, 3 check_ring, 4 release and sleep.
 * Where the proof has contracts (load.h, record_load.h, crc32.h) stand bodies here that touch the
 * same bytes. */
#define __FRAMAC__ /* leaves the bodies of load.h's shared accesses to this file */
#define __builtin_cpu_supports(name) 1
#include "../../c/src/reader.c"
#include "../../c/src/reader_sleep.c"
#include "../../c/src/ring.c"

#include <assert.h>

uint32_t nondet_u32(void);
uint64_t nondet_u64(void);

/* All of these bytes lie in one living object. Cheaper than reading them, whose values do not
 * matter. */
static void touch(const void *at, size_t len) { assert(__ESBMC_r_ok(at, len)); }

static inline uint32_t aqd_load_acquire(const unsigned char *word)
{
    touch(word, 4);
    return nondet_u32();
}

static inline uint32_t aqd_load_relaxed(const unsigned char *word)
{
    touch(word, 4);
    return nondet_u32();
}

static inline void aqd_store_release(unsigned char *word, uint32_t value) { aqd_put32(word, value); }

static inline void aqd_store_relaxed(unsigned char *word, uint32_t value) { aqd_put32(word, value); }

static inline void aqd_fence_acquire(void) {}

static inline void aqd_fence_seq_cst(void) {}

static inline void aqd_prefetch(const unsigned char *at) { (void)at; }

static inline aqd_word aqd_load_word(const unsigned char *from)
{
    touch(from, sizeof(aqd_word));
    return nondet_u64();
}

#if defined AQD_LOAD_PAIRS
static inline void aqd_put_pair(unsigned char *into, aqd_word first, aqd_word second)
{
    aqd_put64(into, first);
    aqd_put64(into + 8, second);
}
#endif

/* Any checksum may come out, so that every check passes on some path. */
uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    if (len > 0) {
        touch(bytes, len);
    }
    return state ^ nondet_u32();
}

uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len) { return aqd_crc32_update_table(state, bytes, len); }

void aqd_load_header_crc(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
    uint64_t w[4];
    aqd_load_header(w, from);
    h->len = (uint32_t)w[0];
    h->kind = (uint8_t)(w[0] >> 32);
    h->flags = (uint8_t)(w[0] >> 40);
    h->type_tag = (uint16_t)(w[0] >> 48);
    h->seq = w[1];
    h->timestamp_ns = w[2];
    h->payload_crc = (uint32_t)w[3];
    h->stored_crc = (uint32_t)(w[3] >> 32);
    h->computed_crc = epoch_crc ^ position ^ nondet_u32();
}

uint32_t aqd_load_bytes_crc(unsigned char *into, const unsigned char *from, size_t len)
{
    aqd_load_bytes(into, from, len);
    return nondet_u32();
}

bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    (void)prefix;
    touch(from, AQD_GRANULE_BYTES);
    uint32_t len = nondet_u32();
    if (len > most) {
        return false;
    }
    aqd_load_bytes(into, from + AQD_GRANULE_BYTES, len);
    if (nondet_u32() & 1) {
        return false;
    }
    *rec = (aqd_record){.seq = seq, .timestamp_ns = nondet_u64(), .len = len, .type_tag = (uint16_t)nondet_u32(), .flags = (uint8_t)nondet_u32()};
    return true;
}

int main(void)
{
    unsigned char ring[AQD_DATA_OFFSET_MIN], data[CAPACITY * AQD_GRANULE_BYTES], cursor[AQD_CURSOR_BYTES_MIN];
    aqd_reader r = {.view = {.ring = ring, .data = data, .capacity = CAPACITY}, .cursor = cursor};
    uint64_t lag = nondet_u64();
    r.position = nondet_u64();
    r.view.max_payload = nondet_u32();
    r.expected_seq = nondet_u64();
    r.seq_known = nondet_u32() & 1;
    r.view.epoch_crc = nondet_u32();
    __ESBMC_assume(lag <= CAPACITY && r.view.max_payload <= (CAPACITY / 2 - 1) * AQD_GRANULE_BYTES);
    r.tail = r.position + lag;
    uint64_t before = r.position;

    aqd_record rec;
    const void *payload = data;
    unsigned char buf[(CAPACITY / 2 - 1) * AQD_GRANULE_BYTES - 8]; /* shorter than the longest record */
    size_t cap = sizeof buf;
#if CALL == 0
    if (aqd_reader_next(&r, buf, cap, &rec) == AQD_OK) {
        assert(rec.len <= cap && rec.len <= r.view.max_payload);
    }
#elif CALL == 1
    if (aqd_reader_view(&r, &payload, &rec) == AQD_OK) {
        const unsigned char *from = payload;
        assert(from >= data && from + rec.len <= data + sizeof data);
    }
#elif CALL == 2
    struct aqd_header damaged = {0};
    __ESBMC_assume(lag > 0);
    reader_resync(&r, &damaged);
#elif CALL == 3
    unsigned char h[128];
    size_t ring_bytes = nondet_u64();
    for (size_t i = 0; i < sizeof h; i++) {
        h[i] = (unsigned char)nondet_u32();
    }
    if (check_ring(h, ring_bytes) == AQD_OK) {
        assert(aqd_get32(h + 12) >= AQD_DATA_OFFSET_MIN);
        assert((ring_bytes - aqd_get32(h + 12)) / AQD_GRANULE_BYTES >= aqd_get32(h + 32) && ring_bytes > aqd_get32(h + 12));
    }
#else
    aqd_reader_release(&r);
    if (aqd_reader_prepare_sleep(&r, AQD_WAITING_FUTEX, NULL)) {
        aqd_reader_finish_sleep(&r, nondet_u32() & 1);
    }
#endif
    assert(r.tail - r.position <= CAPACITY);
    assert(r.position - before <= 3 * CAPACITY);
    return 0;
}
