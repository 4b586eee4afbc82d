/* The gating reader of ABI 4.2, over memory. Contracts: aqueduct/reader.h. Shared bytes only through load.h.
 *
 * A call first brings the oldest unread DATA record to the front (`find`), then copies or lends its payload (`deliver`). A header is
 * loaded once, into `struct header`, and everything is decided on that copy. Next: client.c, or your own main loop. */
#include "aqueduct/reader.h"

#include "bytes.h"
#include "crc32.h"
#include "load.h"

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COLD __attribute__((cold, noinline))

struct header {
    uint64_t seq;
    uint64_t timestamp_ns;
    uint32_t len;
    uint32_t granules; /* that the record takes, this header included */
    uint32_t payload_crc;
    uint32_t stored_crc;
    uint32_t computed_crc;
    uint16_t type;
    uint8_t kind;
    uint8_t flags;
};

static inline uint32_t index_of(const aqd_reader *r, uint64_t position) { return (uint32_t)position & (r->capacity - 1); }

static inline const unsigned char *granule(const aqd_reader *r, uint64_t position)
{
    return r->data + (size_t)index_of(r, position) * AQD_GRANULE_BYTES;
}

/* Loads the header at a position before r->tail; true if it is valid there (ABI 3). */
static inline bool load_header(const aqd_reader *r, uint64_t position, struct header *h)
{
    uint64_t w[4];
    aqd_load_header(w, granule(r, position));
    h->len = (uint32_t)w[0];
    h->kind = (uint8_t)(w[0] >> 32);
    h->flags = (uint8_t)(w[0] >> 40);
    h->type = (uint16_t)(w[0] >> 48);
    h->seq = w[1];
    h->timestamp_ns = w[2];
    h->payload_crc = (uint32_t)w[3];
    h->stored_crc = (uint32_t)(w[3] >> 32);
    h->granules = 1 + h->len / AQD_GRANULE_BYTES + (h->len % AQD_GRANULE_BYTES != 0);
    /* The epoch is in epoch_crc; the position and the 28 bytes make 32, here moved four bytes on. */
    h->computed_crc = ~aqd_crc32_update_words(r->epoch_crc, (uint32_t)position | w[0] << 32, w[0] >> 32 | w[1] << 32,
                                              w[1] >> 32 | w[2] << 32, w[2] >> 32 | w[3] << 32);
    return h->computed_crc == h->stored_crc && h->granules <= r->tail - position
           && h->granules <= r->capacity - index_of(r, position) && (h->kind != AQD_KIND_DATA || h->len <= r->max_payload);
}

/* Adopts the shared tail; false if it is further than the ring is long, and nothing is adopted. */
static inline bool refresh(aqd_reader *r)
{
    /* ORDER(publish): Acquire. The bytes before this tail are seen. Pairs with the producer's store-release of `tail`. */
    uint32_t shared = aqd_load_acquire(r->ring + AQD_RING_TAIL);
    uint32_t distance = shared - (uint32_t)r->position;
    if (UNLIKELY(distance > r->capacity)) {
        r->evidence = (aqd_evidence){.position = r->position, .resumed = r->position, .tail = shared};
        return false;
    }
    r->tail = r->position + distance;
    return true;
}

COLD static void count(aqd_reader *r, uint32_t corrupt, uint32_t lost)
{
    r->stats.corrupt += corrupt;
    r->stats.lost += lost;
    /* ORDER(none): statistics; nothing is read because of them. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_CORRUPT, r->stats.corrupt);
    aqd_store_relaxed(r->cursor + AQD_CURSOR_LOST, r->stats.lost);
}

/* Goes on behind a header that is not valid: at the next valid one before the tail, or at the tail. */
COLD static aqd_status resync(aqd_reader *r, const struct header *damaged)
{
    r->evidence = (aqd_evidence){.position = r->position,
                                 .expected_seq = r->expected_seq,
                                 .tail = r->tail,
                                 .stored_crc = damaged->stored_crc,
                                 .computed_crc = damaged->computed_crc};
    uint32_t lost = 0;
    uint64_t at = r->position + 1;
    for (; at != r->tail; at++) {
        struct header h;
        if (load_header(r, at, &h)) {
            if (r->seq_known && h.seq > r->expected_seq) {
                lost = (uint32_t)(h.seq - r->expected_seq);
            }
            r->expected_seq = h.seq;
            r->seq_known = true;
            r->evidence.found_seq = h.seq;
            break;
        }
    }
    r->position = at;
    r->evidence.resumed = at;
    count(r, 1, lost);
    return AQD_ERR_HEADER;
}

COLD static aqd_status gap(aqd_reader *r, const struct header *h)
{
    r->evidence = (aqd_evidence){.position = r->position,
                                 .resumed = r->position,
                                 .expected_seq = r->expected_seq,
                                 .found_seq = h->seq,
                                 .tail = r->tail};
    if (h->seq > r->expected_seq) {
        count(r, 0, (uint32_t)(h->seq - r->expected_seq));
    }
    r->expected_seq = h->seq;
    return AQD_ERR_GAP;
}

COLD static aqd_status bad_payload(aqd_reader *r, const struct header *h, uint32_t computed_crc)
{
    r->evidence = (aqd_evidence){.position = r->position,
                                 .resumed = r->position + h->granules,
                                 .expected_seq = h->seq,
                                 .found_seq = h->seq,
                                 .tail = r->tail,
                                 .stored_crc = h->payload_crc,
                                 .computed_crc = computed_crc};
    count(r, 1, 1);
    return AQD_ERR_PAYLOAD;
}

/* AQD_OK: the record at r->position is DATA, valid, and *h is its header. Each round consumes at least a granule before the tail, and the
 * tail is adopted at most twice, so there are at most three times the capacity of rounds. */
static inline aqd_status find(aqd_reader *r, struct header *h)
{
    bool refreshed = false, closing = false;
    for (;;) {
        if (r->position == r->tail) {
            if (closing) {
                return AQD_CLOSED;
            }
            if (!refreshed) {
                refreshed = true;
                if (!refresh(r)) {
                    return AQD_ERR_OVERRUN;
                }
            }
            if (r->position == r->tail) {
                /* ORDER(close): Acquire. The tail loaded after a `closed` covers every DATA record. Pairs with the producer's
                 * store-release of `state`. */
                if (aqd_load_acquire(r->ring + AQD_RING_STATE) != AQD_STATE_CLOSED) {
                    return AQD_EMPTY;
                }
                closing = true;
                if (!refresh(r)) {
                    return AQD_ERR_OVERRUN;
                }
                if (r->position == r->tail) {
                    return AQD_CLOSED;
                }
            }
        }
        if (UNLIKELY(!load_header(r, r->position, h))) {
            return resync(r, h);
        }
        if (h->kind == AQD_KIND_DATA) {
            if (UNLIKELY(r->seq_known && h->seq != r->expected_seq)) {
                return gap(r, h);
            }
            r->expected_seq = h->seq;
            r->seq_known = true;
            return AQD_OK;
        }
        r->position += h->granules;
    }
}

static inline void describe(aqd_record *rec, const struct header *h)
{
    rec->seq = h->seq;
    rec->timestamp_ns = h->timestamp_ns;
    rec->len = h->len;
    rec->type = h->type;
    rec->flags = h->flags;
    rec->reserved = 0;
}

/* Consumes the record whose payload has this CRC. */
static inline aqd_status consume(aqd_reader *r, const struct header *h, uint32_t computed_crc)
{
    aqd_status status = UNLIKELY(computed_crc != h->payload_crc) ? bad_payload(r, h, computed_crc) : AQD_OK;
    r->position += h->granules;
    r->expected_seq = h->seq + 1;
    return status;
}

aqd_status aqd_reader_next(aqd_reader *r, void *buf, size_t cap, aqd_record *rec)
{
    struct header h;
    aqd_status status = find(r, &h);
    if (status != AQD_OK) {
        if (status == AQD_ERR_GAP) {
            describe(rec, &h);
        }
        return status;
    }
    describe(rec, &h);
    if (UNLIKELY(cap < h.len)) {
        return AQD_ERR_SPACE;
    }
    aqd_load_bytes((unsigned char *)buf, granule(r, r->position) + AQD_GRANULE_BYTES, h.len);
    return consume(r, &h, aqd_crc32(buf, h.len));
}

aqd_status aqd_reader_view(aqd_reader *r, const void **payload, aqd_record *rec)
{
    struct header h;
    aqd_status status = find(r, &h);
    if (status != AQD_OK) {
        if (status == AQD_ERR_GAP) {
            describe(rec, &h);
        }
        return status;
    }
    describe(rec, &h);
    /* The one plain access to shared bytes: who views trusts the producer to leave them alone until the release. */
    const unsigned char *bytes = granule(r, r->position) + AQD_GRANULE_BYTES;
    *payload = bytes;
    return consume(r, &h, aqd_crc32(bytes, h.len));
}

bool aqd_reader_release(aqd_reader *r)
{
    /* ORDER(release): Release. We are done with the bytes before it. Pairs with the producer's load-acquire of `cursor`. */
    aqd_store_release(r->cursor + AQD_CURSOR_CURSOR, (uint32_t)r->position);
    /* ORDER(space): SeqCst. Either we see `space_wanted` or the producer sees our cursor. Pairs with its fence of ABI 4.6. */
    aqd_fence_seq_cst();
    uint32_t wanted = aqd_load_relaxed(r->ring + AQD_RING_SPACE_WANTED);
    if (wanted == 0 || wanted == r->answered) {
        return false;
    }
    r->answered = wanted;
    return true;
}

bool aqd_reader_prepare_sleep(aqd_reader *r, uint32_t mode, uint32_t *tail_seen)
{
    if (r->position != r->tail) {
        return false;
    }
    /* ORDER(sleep): Relaxed, then SeqCst. Either the producer sees `waiting` or we see its new tail. Pairs with its fence of ABI 4.1.5. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, mode | (uint32_t)r->position << 2);
    aqd_fence_seq_cst();
    if (!refresh(r) || r->position != r->tail) {
        /* ORDER(none): a late zero costs the producer one needless wake. */
        aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, 0);
        return false;
    }
    if (tail_seen) {
        *tail_seen = (uint32_t)r->tail;
    }
    return true;
}

void aqd_reader_finish_sleep(aqd_reader *r, bool timed_out)
{
    /* ORDER(none): as in prepare_sleep. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, 0);
    if (refresh(r) && timed_out && r->position != r->tail) {
        r->stats.missed_wakes++;
        aqd_store_relaxed(r->cursor + AQD_CURSOR_MISSED_WAKES, r->stats.missed_wakes);
    }
}

bool aqd_reader_ready(const aqd_reader *r)
{
    /* ORDER(none): only a hint; reading loads both again, with Acquire. */
    return r->position != r->tail || aqd_load_relaxed(r->ring + AQD_RING_TAIL) != (uint32_t)r->position
           || aqd_load_relaxed(r->ring + AQD_RING_STATE) == AQD_STATE_CLOSED;
}

const aqd_stats *aqd_reader_stats(const aqd_reader *r) { return &r->stats; }

const aqd_evidence *aqd_reader_evidence(const aqd_reader *r) { return &r->evidence; }

const aqd_ring_info *aqd_reader_info(const aqd_reader *r) { return &r->info; }

static bool same_bytes(const unsigned char *a, const char *b, size_t len)
{
    size_t i = 0;
    while (i < len && a[i] == (unsigned char)b[i]) {
        i++;
    }
    return i == len;
}

/* ABI 2.1, in its order, on the private copy. */
static aqd_status check_ring(const unsigned char h[128], size_t ring_bytes)
{
    uint32_t data_offset = aqd_get32(h + 12), capacity = aqd_get32(h + 32), max_payload = aqd_get32(h + 36);
    if (!same_bytes(h, AQD_RING_MAGIC, AQD_MAGIC_BYTES)) {
        return AQD_ERR_MAGIC;
    }
    if (aqd_get16(h + 8) != AQD_ABI_MAJOR) {
        return AQD_ERR_VERSION;
    }
    if (aqd_get32(h + 124) != aqd_crc32(h, 124)) {
        return AQD_ERR_CHECKSUM;
    }
    if (aqd_get64(h + 16) == 0 || capacity < AQD_MIN_CAPACITY || capacity > AQD_MAX_CAPACITY || (capacity & (capacity - 1)) != 0
        || max_payload > (capacity / 2 - 1) * AQD_GRANULE_BYTES || data_offset < AQD_DATA_OFFSET_MIN || data_offset % 64 != 0) {
        return AQD_ERR_GEOMETRY;
    }
    return ring_bytes < data_offset + (uint64_t)capacity * AQD_GRANULE_BYTES ? AQD_ERR_SIZE : AQD_OK;
}

static aqd_status check_cursor(const unsigned char identity[64], uint64_t epoch)
{
    if (!same_bytes(identity, AQD_CURSOR_MAGIC, AQD_MAGIC_BYTES)) {
        return AQD_ERR_CURSOR;
    }
    if (aqd_get16(identity + 8) != AQD_ABI_MAJOR) {
        return AQD_ERR_VERSION;
    }
    return aqd_get32(identity + 60) != aqd_crc32(identity, 60) || aqd_get64(identity + 16) != epoch ? AQD_ERR_CURSOR : AQD_OK;
}

aqd_status aqd_reader_init(aqd_reader *r, const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes)
{
    if (!r || !ring || !cursor || (uintptr_t)ring % AQD_SEGMENT_ALIGN_BYTES != 0 || (uintptr_t)cursor % AQD_SEGMENT_ALIGN_BYTES != 0) {
        return AQD_ERR_ARGUMENT;
    }
    const unsigned char *shared = (const unsigned char *)ring, *page = (const unsigned char *)cursor;
    unsigned char h[sizeof(struct aqd_abi_ring_header)], identity[sizeof(struct aqd_abi_cursor_identity)];
    if (ring_bytes < sizeof h) {
        return AQD_ERR_SIZE;
    }
    aqd_load_bytes(h, shared, AQD_MAGIC_BYTES);
    /* ORDER(create): Acquire. Who sees the magic sees the header. Pairs with the creator's release fence before it stores the magic. */
    aqd_fence_acquire();
    aqd_load_bytes(h + AQD_MAGIC_BYTES, shared + AQD_MAGIC_BYTES, sizeof h - AQD_MAGIC_BYTES);
    aqd_status status = check_ring(h, ring_bytes);
    if (status != AQD_OK) {
        return status;
    }
    if (cursor_bytes < AQD_CURSOR_BYTES_MIN) {
        return AQD_ERR_SIZE;
    }
    aqd_load_bytes(identity, page, sizeof identity);
    /* ORDER(create): Acquire, for the words of the page, as above. */
    aqd_fence_acquire();
    status = check_cursor(identity, aqd_get64(h + 16));
    if (status != AQD_OK) {
        return status;
    }
    *r = (aqd_reader){
        .ring = shared,
        .data = shared + aqd_get32(h + 12),
        .cursor = (unsigned char *)cursor,
        .capacity = aqd_get32(h + 32),
        .max_payload = aqd_get32(h + 36),
        .epoch_crc = aqd_crc32_update(AQD_CRC32_START, h + 16, 8),
        .info = {.epoch = aqd_get64(h + 16),
                 .created_ns = aqd_get64(h + 24),
                 .capacity = aqd_get32(h + 32),
                 .max_payload = aqd_get32(h + 36),
                 .clock_id = aqd_get32(h + 40),
                 .abi_minor = aqd_get16(h + 10)},
    };
    __builtin_memcpy(r->info.name, h + 48, AQD_RING_NAME_BYTES);
    /* ORDER(none): words of the reader's side; whoever had the name before has handed over by way of the control socket. */
    r->position = aqd_load_relaxed(r->cursor + AQD_CURSOR_CURSOR);
    r->tail = r->position;
    r->stats.corrupt = aqd_load_relaxed(r->cursor + AQD_CURSOR_CORRUPT);
    r->stats.lost = aqd_load_relaxed(r->cursor + AQD_CURSOR_LOST);
    r->stats.missed_wakes = aqd_load_relaxed(r->cursor + AQD_CURSOR_MISSED_WAKES);
    /* A predecessor on the same page may have died asleep. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, 0);
    return refresh(r) ? AQD_OK : AQD_ERR_OVERRUN;
}
