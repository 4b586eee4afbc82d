/* The gating reader of ABI 4.2, over memory. Contracts: aqueduct/reader.h. Shared bytes only
 * through load.h.
 *
 * A call first brings the oldest unread DATA record to the front (`find`), then copies or lends its
 * payload (`deliver`). A header is loaded once, into `struct aqd_header`, and everything is decided
 * on that copy. What aqd_reader_next mostly finds it takes in one go before (`take_expected`); if
 * it cannot, nothing was decided. */
#include "compiler.h"

#include "aqueduct/reader.h"

#include "contracts.h"
#include "crc32/crc32.h"
#include "load.h"
#include "reader_tail.h"
#include "record.h"

/*@ requires aqd_inside(r);
    assigns r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false; */
AQD_COLD static void reader_count(aqd_reader *r, uint32_t corrupt, uint32_t lost)
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
AQD_COLD static aqd_status reader_resync(aqd_reader *r, const struct aqd_header *damaged)
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
        if (aqd_load_valid(&r->view, at, r->tail, &h)) {
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
    reader_count(r, 1, lost);
    return AQD_ERR_HEADER;
}

/*@ requires aqd_sound(r) && \valid_read(h) && \separated(r, h);
    assigns r->expected_seq, r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result == AQD_ERR_GAP; */
AQD_COLD static aqd_status reader_gap(aqd_reader *r, const struct aqd_header *h)
{
    r->evidence = (aqd_evidence){.position = r->position,
                                 .resumed = r->position,
                                 .expected_seq = r->expected_seq,
                                 .found_seq = h->seq,
                                 .tail = r->tail};
    if (h->seq > r->expected_seq) {
        reader_count(r, 0, (uint32_t)(h->seq - r->expected_seq));
    }
    r->expected_seq = h->seq;
    return AQD_ERR_GAP;
}

/*@ requires aqd_inside(r) && \valid_read(h) && \separated(r, h);
    assigns r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures \result == AQD_ERR_PAYLOAD; */
AQD_COLD static aqd_status reader_bad_payload(aqd_reader *r, const struct aqd_header *h, uint32_t computed_crc)
{
    r->evidence = (aqd_evidence){.position = r->position,
                                 .resumed = r->position + h->granules,
                                 .expected_seq = h->seq,
                                 .found_seq = h->seq,
                                 .tail = r->tail,
                                 .stored_crc = h->payload_crc,
                                 .computed_crc = computed_crc};
    reader_count(r, 1, 1);
    return AQD_ERR_PAYLOAD;
}

/*@ requires aqd_sound(r) && 1 <= granules <= aqd_unread(r, r->position);
    assigns r->position; exits \false;
    ensures aqd_sound(r) && aqd_unread(r, r->position) == aqd_unread(r, \old(r->position)) - granules; */
static inline void reader_advance(aqd_reader *r, uint32_t granules) { r->position += granules; }

/* Has the reader looked at the tail, and has it seen that the ring is closed? */
enum { READER_NOT_LOOKED, READER_LOOKED, READER_LOOKED_CLOSED };

/* With everything before r->tail used up: AQD_OK if a look at the shared words brings more. Each
 * AQD_OK moves *looked on. */
/*@ requires aqd_sound(r) && r->position == r->tail && \valid(looked) && \separated(r, looked) && *looked <= READER_LOOKED_CLOSED;
    assigns r->tail, r->evidence, *looked; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> r->position != r->tail && \old(*looked) < *looked <= READER_LOOKED_CLOSED;
    ensures \result == AQD_OK || \result == AQD_EMPTY || \result == AQD_CLOSED || \result == AQD_ERR_TAIL; */
static inline aqd_status reader_look(aqd_reader *r, uint32_t *looked)
{
    if (*looked == READER_LOOKED_CLOSED) {
        return AQD_CLOSED;
    }
    if (*looked == READER_NOT_LOOKED) {
        *looked = READER_LOOKED;
        if (!aqd_reader_refresh(r)) {
            return AQD_ERR_TAIL;
        }
        if (r->position != r->tail) {
            return AQD_OK;
        }
    }
    /* ORDER(close): Acquire. The tail loaded after a `closed` covers every DATA record. Pairs with
     * the producer's store-release of `state`. */
    if (aqd_load_acquire(r->view.ring + AQD_RING_STATE) != AQD_STATE_CLOSED) {
        aqd_prefetch(aqd_granule(&r->view, r->position)); /* who asks again soon gets the record on the way of its tail */
        return AQD_EMPTY;
    }
    *looked = READER_LOOKED_CLOSED;
    if (!aqd_reader_refresh(r)) {
        return AQD_ERR_TAIL;
    }
    return r->position == r->tail ? AQD_CLOSED : AQD_OK;
}

/* AQD_OK if it is this record's turn, by its number. */
/*@ requires aqd_sound(r) && aqd_fits(r, r->position, h) && h->len <= r->view.max_payload && h->computed_crc == h->stored_crc;
    requires \valid_read(h) && \separated(r, h, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->expected_seq, r->seq_known, r->evidence, r->stats, r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && (\result == AQD_OK || \result == AQD_ERR_GAP);
    ensures \result == AQD_OK ==> aqd_fits(r, r->position, h);
    ensures \result == AQD_OK ==> h->len <= r->view.max_payload && h->computed_crc == h->stored_crc; */
static inline aqd_status reader_in_sequence(aqd_reader *r, const struct aqd_header *h)
{
    if (AQD_UNLIKELY(r->seq_known && h->seq != r->expected_seq)) {
        return reader_gap(r, h);
    }
    r->expected_seq = h->seq;
    r->seq_known = true;
    return AQD_OK;
}

/* AQD_OK: the record at r->position is DATA, valid, and *h is its header. Each round consumes at
 * least a granule before the tail, and the tail is adopted at most twice, so there are at most
 * three times the capacity of rounds. GCC would inline it, and spill: 26 ns a record of 16 bytes
 * instead of 19. */
/*@ requires aqd_sound(r) && \valid(h) && \separated(r, h, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1)) && looked <= READER_LOOKED_CLOSED;
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *h,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> aqd_fits(r, r->position, h);
    ensures \result == AQD_OK ==> h->len <= r->view.max_payload && h->computed_crc == h->stored_crc; */
AQD_OUT_OF_LINE static aqd_status reader_find(aqd_reader *r, struct aqd_header *h, uint32_t looked)
{
    /*@ loop invariant aqd_sound(r) && looked <= READER_LOOKED_CLOSED;
        loop assigns r->position, r->tail, r->evidence, *h, looked;
        loop variant aqd_unread(r, r->position)
                     + (looked == READER_NOT_LOOKED ? 2 * (r->view.capacity + 1) : looked == READER_LOOKED ? r->view.capacity + 1 : 0); */
    for (;;) {
        if (r->position == r->tail) {
            aqd_status status = reader_look(r, &looked);
            if (status != AQD_OK) {
                return status;
            }
        }
        if (AQD_UNLIKELY(!aqd_load_valid(&r->view, r->position, r->tail, h))) {
            return reader_resync(r, h);
        }
        if (aqd_is_data(h)) {
            return reader_in_sequence(r, h);
        }
        reader_advance(r, h->granules);
    }
}

/* Finds the next DATA record and describes it, also if it comes behind a gap. */
/*@ requires aqd_sound(r) && \valid(h) && \valid(rec) && \separated(r, h, rec, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    requires looked <= READER_LOOKED_CLOSED;
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *h, *rec,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> aqd_fits(r, r->position, h);
    ensures \result == AQD_OK ==> aqd_total(rec) == h->len <= r->view.max_payload && h->computed_crc == h->stored_crc; */
static inline aqd_status reader_front(aqd_reader *r, struct aqd_header *h, aqd_record *rec, uint32_t looked)
{
    aqd_status status = reader_find(r, h, looked);
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
static inline aqd_status reader_consume(aqd_reader *r, const struct aqd_header *h, uint32_t computed_crc)
{
    aqd_status status = AQD_UNLIKELY(computed_crc != h->payload_crc) ? reader_bad_payload(r, h, computed_crc) : AQD_OK;
    reader_advance(r, h->granules);
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
static inline bool reader_next_fast(aqd_reader *r, unsigned char *buf, size_t cap, aqd_record *rec)
{
    uint64_t unread = r->tail - r->position;
    uint32_t room = r->view.capacity - ((uint32_t)r->position & (r->view.capacity - 1));
    if (!r->seq_known) {
        return false;
    }
    size_t most = (size_t)((unread < room ? unread : room) - 1) * AQD_GRANULE_BYTES;
    most = most < r->view.max_payload ? most : r->view.max_payload;
    most = most < cap ? most : cap;
    if (!aqd_load_record_crc(aqd_granule(&r->view, r->position), r->view.epoch_crc ^ (uint32_t)r->position, r->expected_seq, most, buf, rec)) {
        return false;
    }
    reader_advance(r, aqd_granules(rec->len));
    r->expected_seq++;
    return true;
}

/* aqd_reader_next for every record, by way of its header. */
/*@ requires aqd_sound(r) && \valid(rec) && \valid(buf + (0 .. cap - 1)) && looked <= READER_LOOKED_CLOSED;
    requires \separated(r, rec, buf + (0 .. cap - 1), r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec, buf[0 .. cap - 1],
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> aqd_delivered(r, cap, rec);
    ensures \result == AQD_ERR_SPACE ==> aqd_total(rec) <= (aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES; */
static inline aqd_status reader_deliver(aqd_reader *r, unsigned char *buf, size_t cap, aqd_record *rec, uint32_t looked)
{
    struct aqd_header h;
    aqd_status status = reader_front(r, &h, rec, looked);
    if (status != AQD_OK) {
        return status;
    }
    if (AQD_UNLIKELY(cap < h.len)) {
        aqd_describe_need(rec, &h);
        return AQD_ERR_SPACE;
    }
    uint32_t crc = aqd_load_bytes_crc(buf, aqd_granule(&r->view, r->position) + AQD_GRANULE_BYTES, h.len);
    return reader_consume(r, &h, crc);
}

aqd_status aqd_reader_next(aqd_reader *r, void *buf, size_t cap, aqd_record *rec)
{
    uint32_t looked = READER_NOT_LOOKED;
    if (r->position == r->tail) {
        aqd_status status = reader_look(r, &looked);
        if (status != AQD_OK) {
            return status;
        }
    }
    if (reader_next_fast(r, (unsigned char *)buf, cap, rec)) {
        return AQD_OK;
    }
    return reader_deliver(r, (unsigned char *)buf, cap, rec, looked);
}

/*@ requires aqd_sound(r) && \valid(rec) && \valid(payload);
    requires \separated(r, rec, payload, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec, *payload,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> aqd_total(rec) <= r->view.max_payload;
    ensures \result == AQD_OK ==> \exists integer i; 0 <= i && i + aqd_total(rec) <= r->view.capacity * AQD_GRANULE_BYTES
                                   && (unsigned char *)*payload == r->view.data + i; */
aqd_status aqd_reader_view(aqd_reader *r, const void **payload, aqd_record *rec)
{
    struct aqd_header h;
    aqd_status status = reader_front(r, &h, rec, READER_NOT_LOOKED);
    if (status != AQD_OK) {
        return status;
    }
    /* The one plain access to shared bytes: who views trusts the producer to leave them alone until
     * the release. */
    const unsigned char *bytes = aqd_granule(&r->view, r->position) + AQD_GRANULE_BYTES;
    *payload = bytes;
    return reader_consume(r, &h, aqd_crc32(bytes, h.len));
}

/*@ requires aqd_sound(r) && \valid(rec) && \separated(r, rec, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> aqd_total(rec) <= r->view.max_payload;
    ensures \result == AQD_OK ==> aqd_total(rec) <= UINT32_MAX && aqd_total(rec) <= (aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES; */
aqd_status aqd_reader_peek(aqd_reader *r, aqd_record *rec)
{
    struct aqd_header h;
    return reader_front(r, &h, rec, READER_NOT_LOOKED);
}
