/* The gating reader of ABI 4.2, over memory. Contracts: aqueduct/reader.h. Shared bytes only
 * through load.h.
 *
 * A call first brings the oldest unread DATA record to the front (`find`), then copies or lends its
 * payload (`deliver`). A header is loaded once, into `struct aqd_header`, and everything is decided
 * on that copy. What aqd_reader_next mostly finds it takes in one go before (`take_expected`); if
 * it cannot, nothing was decided. Next: client.c, or your own main loop. */
#include "aqueduct/reader.h"

#include "bytes.h"
#include "contracts.h"
#include "crc32.h"
#include "load.h"
#include "record.h"

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COLD __attribute__((cold, noinline))
#define OUT_OF_LINE __attribute__((noinline)) /* GCC inlines find otherwise, and spills: 26 ns a record of 16 bytes instead of 19 */

/*@ requires aqd_inside(r);
    assigns \nothing; exits \false;
    ensures 0 <= aqd_slot(r->capacity, position) < r->capacity;
    ensures \result == r->data + aqd_slot(r->capacity, position) * AQD_GRANULE_BYTES; */
static inline const unsigned char *granule(const aqd_reader *r, uint64_t position) { return aqd_granule(r->data, r->capacity, position); }

/* Loads the header at a position before r->tail; true if it is valid there. */
/*@ requires aqd_sound(r) && aqd_unread(r, position) <= r->capacity && \valid(h) && \separated(r, h);
    assigns *h; exits \false;
    ensures aqd_sound(r) && r->position == \old(r->position) && r->tail == \old(r->tail);
    ensures \result ==> aqd_fits(r, position, h) && h->computed_crc == h->stored_crc;
    ensures \result && h->kind == AQD_KIND_DATA ==> h->len <= r->max_payload; */
static inline bool load_header(const aqd_reader *r, uint64_t position, struct aqd_header *h)
{
    aqd_load_record(granule(r, position), position, &r->epoch_crc, h);
    return aqd_is_valid(h, r->capacity, r->max_payload, position, r->tail);
}

/* Adopts the shared tail; false if it is further than the ring is long, and nothing is adopted. */
/*@ requires aqd_sound(r);
    assigns r->tail, r->evidence; exits \false;
    ensures aqd_sound(r);
    ensures !\result ==> r->tail == \old(r->tail); */
static inline bool refresh(aqd_reader *r)
{
    /* ORDER(publish): Acquire. The bytes before this tail are seen. Pairs with the producer's
     * store-release of `tail`. */
    uint32_t shared = aqd_load_acquire(r->ring + AQD_RING_TAIL);
    uint32_t distance = shared - (uint32_t)r->position;
    if (UNLIKELY(distance > r->capacity)) {
        r->evidence = (aqd_evidence){.position = r->position, .resumed = r->position, .tail = shared};
        return false;
    }
    r->tail = r->position + distance;
    return true;
}

/*@ requires aqd_inside(r);
    assigns r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false; */
COLD static void count(aqd_reader *r, uint32_t corrupt, uint32_t lost)
{
    r->stats.corrupt += corrupt;
    r->stats.lost += lost;
    /* ORDER(none): statistics; nothing is read because of them. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_CORRUPT, r->stats.corrupt);
    aqd_store_relaxed(r->cursor + AQD_CURSOR_LOST, r->stats.lost);
}

/* Goes on behind a header that is not valid: at the next valid one before the tail, or at the
 * tail. */
/*@ requires aqd_sound(r) && r->position != r->tail && \valid_read(damaged) && \separated(r, damaged);
    assigns r->position, r->expected_seq, r->seq_known, r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result == AQD_ERR_HEADER;
    ensures aqd_unread(r, r->position) < aqd_unread(r, \old(r->position)); */
COLD static aqd_status resync(aqd_reader *r, const struct aqd_header *damaged)
{
    r->evidence = (aqd_evidence){.position = r->position,
                                 .expected_seq = r->expected_seq,
                                 .tail = r->tail,
                                 .stored_crc = damaged->stored_crc,
                                 .computed_crc = damaged->computed_crc};
    uint32_t lost = 0;
    uint64_t at = r->position + 1;
    /*@ loop invariant aqd_unread(r, at) < aqd_unread(r, r->position);
        loop assigns at;
        loop variant aqd_unread(r, at); */
    for (; at != r->tail; at++) {
        struct aqd_header h;
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

/*@ requires aqd_sound(r) && \valid_read(h) && \separated(r, h);
    assigns r->expected_seq, r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result == AQD_ERR_GAP; */
COLD static aqd_status gap(aqd_reader *r, const struct aqd_header *h)
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

/*@ requires aqd_inside(r) && \valid_read(h) && \separated(r, h);
    assigns r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures \result == AQD_ERR_PAYLOAD; */
COLD static aqd_status bad_payload(aqd_reader *r, const struct aqd_header *h, uint32_t computed_crc)
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

/*@ requires aqd_sound(r) && 1 <= granules <= aqd_unread(r, r->position);
    assigns r->position; exits \false;
    ensures aqd_sound(r) && aqd_unread(r, r->position) == aqd_unread(r, \old(r->position)) - granules; */
static inline void advance(aqd_reader *r, uint32_t granules) { r->position += granules; }

/* Has the reader looked at the tail, and has it seen that the ring is closed? */
enum { NOT_LOOKED, LOOKED, LOOKED_CLOSED };

/* With everything before r->tail used up: AQD_OK if a look at the shared words brings more. Each
 * AQD_OK moves *looked on. */
/*@ requires aqd_sound(r) && r->position == r->tail && \valid(looked) && \separated(r, looked) && *looked <= LOOKED_CLOSED;
    assigns r->tail, r->evidence, *looked; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> r->position != r->tail && \old(*looked) < *looked <= LOOKED_CLOSED;
    ensures \result == AQD_OK || \result == AQD_EMPTY || \result == AQD_CLOSED || \result == AQD_ERR_TAIL; */
static inline aqd_status look(aqd_reader *r, uint32_t *looked)
{
    if (*looked == LOOKED_CLOSED) {
        return AQD_CLOSED;
    }
    if (*looked == NOT_LOOKED) {
        *looked = LOOKED;
        if (!refresh(r)) {
            return AQD_ERR_TAIL;
        }
        if (r->position != r->tail) {
            return AQD_OK;
        }
    }
    /* ORDER(close): Acquire. The tail loaded after a `closed` covers every DATA record. Pairs with
     * the producer's store-release of `state`. */
    if (aqd_load_acquire(r->ring + AQD_RING_STATE) != AQD_STATE_CLOSED) {
        aqd_prefetch(granule(r, r->position)); /* who asks again soon gets the record on the way of its tail */
        return AQD_EMPTY;
    }
    *looked = LOOKED_CLOSED;
    if (!refresh(r)) {
        return AQD_ERR_TAIL;
    }
    return r->position == r->tail ? AQD_CLOSED : AQD_OK;
}

/* AQD_OK if it is this record's turn, by its number. */
/*@ requires aqd_sound(r) && aqd_fits(r, r->position, h) && h->len <= r->max_payload && h->computed_crc == h->stored_crc;
    requires \valid_read(h) && \separated(r, h, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->expected_seq, r->seq_known, r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && (\result == AQD_OK || \result == AQD_ERR_GAP);
    ensures \result == AQD_OK ==> aqd_fits(r, r->position, h);
    ensures \result == AQD_OK ==> h->len <= r->max_payload && h->computed_crc == h->stored_crc; */
static inline aqd_status in_sequence(aqd_reader *r, const struct aqd_header *h)
{
    if (UNLIKELY(r->seq_known && h->seq != r->expected_seq)) {
        return gap(r, h);
    }
    r->expected_seq = h->seq;
    r->seq_known = true;
    return AQD_OK;
}

/* AQD_OK: the record at r->position is DATA, valid, and *h is its header. Each round consumes at
 * least a granule before the tail, and the tail is adopted at most twice, so there are at most
 * three times the capacity of rounds. */
/*@ requires aqd_sound(r) && \valid(h) && \separated(r, h, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1)) && looked <= LOOKED_CLOSED;
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *h,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> aqd_fits(r, r->position, h);
    ensures \result == AQD_OK ==> h->len <= r->max_payload && h->computed_crc == h->stored_crc; */
OUT_OF_LINE static aqd_status find(aqd_reader *r, struct aqd_header *h, uint32_t looked)
{
    /*@ loop invariant aqd_sound(r) && looked <= LOOKED_CLOSED;
        loop assigns r->position, r->tail, r->evidence, *h, looked;
        loop variant aqd_unread(r, r->position)
                     + (looked == NOT_LOOKED ? 2 * (r->capacity + 1) : looked == LOOKED ? r->capacity + 1 : 0); */
    for (;;) {
        if (r->position == r->tail) {
            aqd_status status = look(r, &looked);
            if (status != AQD_OK) {
                return status;
            }
        }
        if (UNLIKELY(!load_header(r, r->position, h))) {
            return resync(r, h);
        }
        if (h->kind == AQD_KIND_DATA) {
            return in_sequence(r, h);
        }
        advance(r, h->granules);
    }
}

/* Finds the next DATA record and describes it, also if it comes behind a gap. */
/*@ requires aqd_sound(r) && \valid(h) && \valid(rec) && \separated(r, h, rec, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    requires looked <= LOOKED_CLOSED;
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *h, *rec,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> aqd_fits(r, r->position, h);
    ensures \result == AQD_OK ==> rec->len == h->len <= r->max_payload && h->computed_crc == h->stored_crc; */
static inline aqd_status front(aqd_reader *r, struct aqd_header *h, aqd_record *rec, uint32_t looked)
{
    aqd_status status = find(r, h, looked);
    if (status == AQD_OK || status == AQD_ERR_GAP) {
        aqd_describe(rec, h);
    }
    return status;
}

/* Consumes the record whose payload has this CRC. */
/*@ requires aqd_sound(r) && \valid_read(h) && \separated(r, h, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    requires 1 <= h->granules <= aqd_unread(r, r->position);
    assigns r->position, r->expected_seq, r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && aqd_unread(r, r->position) == aqd_unread(r, \old(r->position)) - h->granules;
    ensures \result == (computed_crc == h->payload_crc ? AQD_OK : AQD_ERR_PAYLOAD); */
static inline aqd_status consume(aqd_reader *r, const struct aqd_header *h, uint32_t computed_crc)
{
    aqd_status status = UNLIKELY(computed_crc != h->payload_crc) ? bad_payload(r, h, computed_crc) : AQD_OK;
    advance(r, h->granules);
    r->expected_seq = h->seq + 1;
    return status;
}

/* Takes the record that most calls find, in one go: the expected one, undamaged, before the tail
 * that was adopted, not short. False: it is not of that kind, and nothing has happened but that buf
 * may hold garbage. */
/*@ requires aqd_sound(r) && r->position != r->tail && \valid(rec) && \valid(buf + (0 .. cap - 1));
    requires \separated(r, rec, buf + (0 .. cap - 1), r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->expected_seq, *rec, buf[0 .. cap - 1]; exits \false;
    ensures aqd_sound(r);
    ensures \result ==> aqd_delivered(r, cap, rec);
    ensures !\result ==> r->position == \old(r->position) && *rec == \old(*rec); */
static inline bool take_expected(aqd_reader *r, unsigned char *buf, size_t cap, aqd_record *rec)
{
    uint64_t unread = r->tail - r->position;
    uint32_t room = r->capacity - ((uint32_t)r->position & (r->capacity - 1));
    if (!r->seq_known) {
        return false;
    }
    size_t most = (size_t)((unread < room ? unread : room) - 1) * AQD_GRANULE_BYTES;
    most = most < r->max_payload ? most : r->max_payload;
    most = most < cap ? most : cap;
    if (!aqd_load_record_crc(granule(r, r->position), r->epoch_crc ^ (uint32_t)r->position, r->expected_seq, most, buf, rec)) {
        return false;
    }
    advance(r, aqd_granules(rec->len));
    r->expected_seq++;
    return true;
}

/* aqd_reader_next for every record, by way of its header. */
/*@ requires aqd_sound(r) && \valid(rec) && \valid(buf + (0 .. cap - 1)) && looked <= LOOKED_CLOSED;
    requires \separated(r, rec, buf + (0 .. cap - 1), r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec, buf[0 .. cap - 1],
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> aqd_delivered(r, cap, rec);
    ensures \result == AQD_ERR_SPACE ==> rec->len <= (aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES; */
static inline aqd_status deliver(aqd_reader *r, unsigned char *buf, size_t cap, aqd_record *rec, uint32_t looked)
{
    struct aqd_header h;
    aqd_status status = front(r, &h, rec, looked);
    if (status != AQD_OK) {
        return status;
    }
    if (UNLIKELY(cap < h.len)) {
        return AQD_ERR_SPACE;
    }
    uint32_t crc = aqd_load_bytes_crc(buf, granule(r, r->position) + AQD_GRANULE_BYTES, h.len);
    return consume(r, &h, crc);
}

aqd_status aqd_reader_next(aqd_reader *r, void *buf, size_t cap, aqd_record *rec)
{
    uint32_t looked = NOT_LOOKED;
    if (r->position == r->tail) {
        aqd_status status = look(r, &looked);
        if (status != AQD_OK) {
            return status;
        }
    }
    if (take_expected(r, (unsigned char *)buf, cap, rec)) {
        return AQD_OK;
    }
    return deliver(r, (unsigned char *)buf, cap, rec, looked);
}

/*@ requires aqd_sound(r) && \valid(rec) && \valid(payload);
    requires \separated(r, rec, payload, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec, *payload,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> rec->len <= r->max_payload;
    ensures \result == AQD_OK ==> \exists integer i; 0 <= i && i + rec->len <= r->capacity * AQD_GRANULE_BYTES
                                   && (unsigned char *)*payload == r->data + i; */
aqd_status aqd_reader_view(aqd_reader *r, const void **payload, aqd_record *rec)
{
    struct aqd_header h;
    aqd_status status = front(r, &h, rec, NOT_LOOKED);
    if (status != AQD_OK) {
        return status;
    }
    /* The one plain access to shared bytes: who views trusts the producer to leave them alone until
     * the release. */
    const unsigned char *bytes = granule(r, r->position) + AQD_GRANULE_BYTES;
    *payload = bytes;
    return consume(r, &h, aqd_crc32(bytes, h.len));
}

/*@ requires aqd_sound(r) && \valid(rec) && \separated(r, rec, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> rec->len <= r->max_payload;
    ensures \result == AQD_OK ==> rec->len <= (aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES; */
aqd_status aqd_reader_peek(aqd_reader *r, aqd_record *rec)
{
    struct aqd_header h;
    return front(r, &h, rec, NOT_LOOKED);
}

/*@ requires aqd_sound(r);
    assigns r->answered, r->cursor[AQD_CURSOR_CURSOR .. AQD_CURSOR_CURSOR + 3]; exits \false;
    ensures aqd_sound(r); */
bool aqd_reader_release(aqd_reader *r)
{
    /* ORDER(release): Release. We are done with the bytes before it. Pairs with the producer's
     * load-acquire of `cursor`. */
    aqd_store_release(r->cursor + AQD_CURSOR_CURSOR, (uint32_t)r->position);
    /* ORDER(space): SeqCst. Either we see `space_wanted` or the producer sees our cursor. Pairs
     * with its fence of ABI 4.6. */
    aqd_fence_seq_cst();
    uint32_t wanted = aqd_load_relaxed(r->ring + AQD_RING_SPACE_WANTED);
    if (wanted == 0 || wanted == r->answered) {
        return false;
    }
    r->answered = wanted;
    return true;
}

/*@ requires aqd_sound(r) && (tail_seen == \null || \valid(tail_seen)) && \separated(r, tail_seen);
    requires \separated(tail_seen, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->tail, r->evidence, *tail_seen, r->cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3]; exits \false;
    ensures aqd_sound(r); */
bool aqd_reader_prepare_sleep(aqd_reader *r, uint32_t mode, uint32_t *tail_seen)
{
    if (r->position != r->tail) {
        return false;
    }
    /* ORDER(sleep): Relaxed, then SeqCst. Either the producer sees `waiting` or we see its new
     * tail. Pairs with its fence of ABI 4.1.5. */
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

/*@ requires aqd_sound(r);
    assigns r->tail, r->evidence, r->stats, r->cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3],
            r->cursor[AQD_CURSOR_MISSED_WAKES .. AQD_CURSOR_MISSED_WAKES + 3]; exits \false;
    ensures aqd_sound(r); */
void aqd_reader_finish_sleep(aqd_reader *r, bool timed_out)
{
    /* ORDER(none): as in prepare_sleep. */
    aqd_store_relaxed(r->cursor + AQD_CURSOR_WAITING, 0);
    if (refresh(r) && timed_out && r->position != r->tail) {
        r->stats.missed_wakes++;
        aqd_store_relaxed(r->cursor + AQD_CURSOR_MISSED_WAKES, r->stats.missed_wakes);
    }
}

/*@ requires aqd_sound(r);
    assigns \nothing; exits \false; */
bool aqd_reader_ready(const aqd_reader *r)
{
    /* ORDER(none): only a hint; reading loads both again, with Acquire. */
    return r->position != r->tail || aqd_load_relaxed(r->ring + AQD_RING_TAIL) != (uint32_t)r->position
           || aqd_load_relaxed(r->ring + AQD_RING_STATE) == AQD_STATE_CLOSED;
}

/*@ assigns \result \from r; exits \false;
    ensures \result == &r->stats; */
const aqd_stats *aqd_reader_stats(const aqd_reader *r) { return &r->stats; }

/*@ assigns \result \from r; exits \false;
    ensures \result == &r->evidence; */
const aqd_evidence *aqd_reader_evidence(const aqd_reader *r) { return &r->evidence; }

/*@ assigns \result \from r; exits \false;
    ensures \result == &r->info; */
const aqd_ring_info *aqd_reader_info(const aqd_reader *r) { return &r->info; }

/*@ requires \valid_read(a + (0 .. len - 1)) && \valid_read(b + (0 .. len - 1));
    assigns \nothing; exits \false; */
static bool same_bytes(const unsigned char *a, const char *b, size_t len)
{
    size_t i = 0;
    /*@ loop invariant i <= len;
        loop assigns i;
        loop variant len - i; */
    while (i < len && a[i] == (unsigned char)b[i]) {
        i++;
    }
    return i == len;
}

/* ABI 2.1, in its order, on the private copy. */
/*@ requires \valid_read(h + (0 .. 127));
    assigns \nothing; exits \false;
    ensures \result != AQD_ERR_TAIL;
    ensures \result == AQD_OK ==> AQD_MIN_CAPACITY <= aqd_u32(h + 32) <= AQD_MAX_CAPACITY;
    ensures \result == AQD_OK ==> aqd_u32(h + 12) >= AQD_DATA_OFFSET_MIN && aqd_u32(h + 12) % AQD_SEGMENT_ALIGN_BYTES == 0;
    ensures \result == AQD_OK ==> aqd_u32(h + 12) + aqd_u32(h + 32) * AQD_GRANULE_BYTES <= ring_bytes; */
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

/*@ requires \valid_read(identity + (0 .. 63));
    assigns \nothing; exits \false;
    ensures \result != AQD_ERR_TAIL; */
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

/* Fills in every field, from a ring header that was checked and from the cursor segment. */
/*@ requires \valid(r) && \valid_read(h + (0 .. 127)) && \valid(cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    requires \valid_read(ring + (0 .. data_offset - 1));
    requires \separated(r, h + (0 .. 127), cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns *r, cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3]; exits \false;
    ensures r->ring == ring && r->data == ring + data_offset && r->cursor == cursor;
    ensures r->capacity == capacity && r->tail == r->position; */
static void set_up(aqd_reader *r, const unsigned char *h, const unsigned char *ring, uint32_t data_offset, uint32_t capacity,
                   unsigned char *cursor)
{
    r->ring = ring;
    r->data = ring + data_offset;
    r->cursor = cursor;
    r->capacity = capacity;
    r->max_payload = aqd_get32(h + 36);
    r->epoch_crc = aqd_crc32_update(AQD_CRC32_START, h + 16, 8);
    r->expected_seq = 0;
    r->seq_known = false;
    r->answered = 0;
    r->evidence = (aqd_evidence){0};
    r->info.epoch = aqd_get64(h + 16);
    r->info.created_ns = aqd_get64(h + 24);
    r->info.capacity = capacity;
    r->info.max_payload = r->max_payload;
    r->info.clock_id = aqd_get32(h + 40);
    r->info.abi_minor = aqd_get16(h + 10);
    /*@ loop invariant i <= AQD_RING_NAME_BYTES;
        loop assigns i, r->info.name[0 .. AQD_RING_NAME_BYTES - 1];
        loop variant AQD_RING_NAME_BYTES - i; */
    for (size_t i = 0; i < AQD_RING_NAME_BYTES; i++) {
        r->info.name[i] = (char)h[48 + i];
    }
    r->info.name[AQD_RING_NAME_BYTES] = '\0';
    /* ORDER(none): words of the reader's side; whoever had the name before has handed over by way
     * of the control socket. */
    r->position = aqd_load_relaxed(cursor + AQD_CURSOR_CURSOR);
    r->tail = r->position;
    r->stats.corrupt = aqd_load_relaxed(cursor + AQD_CURSOR_CORRUPT);
    r->stats.lost = aqd_load_relaxed(cursor + AQD_CURSOR_LOST);
    r->stats.missed_wakes = aqd_load_relaxed(cursor + AQD_CURSOR_MISSED_WAKES);
    /* A predecessor on the same page may have died asleep. */
    aqd_store_relaxed(cursor + AQD_CURSOR_WAITING, 0);
}

/* Copies what both segments say of themselves, checks the copies and sets the reader up; it has not
 * looked at the tail yet. */
/*@ requires \valid(r) && \valid_read(ring + (0 .. ring_bytes - 1)) && \valid(cursor + (0 .. cursor_bytes - 1));
    requires \separated(r, ring + (0 .. ring_bytes - 1), cursor + (0 .. cursor_bytes - 1));
    assigns *r, cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3]; exits \false;
    ensures \result != AQD_ERR_TAIL;
    ensures \result == AQD_OK ==> r->ring == ring && r->cursor == cursor && cursor_bytes >= AQD_CURSOR_BYTES_MIN;
    ensures \result == AQD_OK ==> \exists integer offset; AQD_DATA_OFFSET_MIN <= offset && r->data == ring + offset
                                   && offset + r->capacity * AQD_GRANULE_BYTES <= ring_bytes;
    ensures \result == AQD_OK ==> AQD_MIN_CAPACITY <= r->capacity <= AQD_MAX_CAPACITY && r->tail == r->position; */
static aqd_status adopt(aqd_reader *r, const unsigned char *ring, size_t ring_bytes, unsigned char *cursor, size_t cursor_bytes)
{
    unsigned char h[sizeof(struct aqd_abi_ring_header)], identity[sizeof(struct aqd_abi_cursor_identity)];
    if (ring_bytes < sizeof h) {
        return AQD_ERR_SIZE;
    }
    aqd_load_bytes(h, ring, AQD_MAGIC_BYTES);
    /* ORDER(create): Acquire. Who sees the magic sees the header. Pairs with the creator's release
     * fence before it stores the magic. */
    aqd_fence_acquire();
    aqd_load_bytes(h + AQD_MAGIC_BYTES, ring + AQD_MAGIC_BYTES, sizeof h - AQD_MAGIC_BYTES);
    aqd_status status = check_ring(h, ring_bytes);
    if (status != AQD_OK) {
        return status;
    }
    if (cursor_bytes < AQD_CURSOR_BYTES_MIN) {
        return AQD_ERR_SIZE;
    }
    aqd_load_bytes(identity, cursor, sizeof identity);
    /* ORDER(create): Acquire, for the words of the page, as above. */
    aqd_fence_acquire();
    status = check_cursor(identity, aqd_get64(h + 16));
    if (status == AQD_OK) {
        set_up(r, h, ring, aqd_get32(h + 12), aqd_get32(h + 32), cursor);
    }
    return status;
}

aqd_status aqd_reader_init(aqd_reader *r, const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes)
{
    if (!r || !ring || !cursor || (uintptr_t)ring % AQD_SEGMENT_ALIGN_BYTES != 0 || (uintptr_t)cursor % AQD_SEGMENT_ALIGN_BYTES != 0) {
        return AQD_ERR_ARGUMENT;
    }
    aqd_status status = adopt(r, (const unsigned char *)ring, ring_bytes, (unsigned char *)cursor, cursor_bytes);
    if (status != AQD_OK) {
        return status;
    }
    return refresh(r) ? AQD_OK : AQD_ERR_TAIL;
}
