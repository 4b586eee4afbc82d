/* One look at a record header in shared memory: loaded once, judged on the copy (ABI 3). The rule
 * stands here; reader_next_fast of reader.c applies the same bounds in one step, and leaves
 * everything it does not take to this file. */
#ifndef AQUEDUCT_RECORD_H
#define AQUEDUCT_RECORD_H

#include <stdbool.h>

#include "aqueduct/reader.h"
#include "bytes.h"
#include "extent.h"
#include "load.h"
#include "record_load.h"

/* Words of the contracts. Positions count modulo 2^64. */
/*@ logic integer aqd_distance(integer position, integer tail) = (uint64_t)(tail - position);

    logic integer aqd_slot(integer capacity, integer position) = (uint32_t)position & (uint32_t)(capacity - 1);

    predicate aqd_holds(struct aqd_ring_view *v) =
        AQD_MIN_CAPACITY <= v->capacity <= AQD_MAX_CAPACITY && v->capacity * AQD_GRANULE_BYTES <= SIZE_MAX
        && \valid_read(v->data + (0 .. v->capacity * AQD_GRANULE_BYTES - 1))
        && \valid_read(v->ring + (0 .. AQD_DATA_OFFSET_MIN - 1));

    predicate aqd_takes(integer granules, integer len) =
        1 <= granules && len <= (granules - 1) * AQD_GRANULE_BYTES < len + AQD_GRANULE_BYTES;

    predicate aqd_fits_in(struct aqd_header *h, integer capacity, integer position, integer tail) =
        aqd_takes(h->granules, h->len) && h->granules <= aqd_distance(position, tail)
        && aqd_slot(capacity, position) + h->granules <= capacity; */

/* Granules of a record with this payload. */
/*@ assigns \nothing; exits \false;
    ensures aqd_takes(\result, len); */
static inline uint32_t aqd_granules(uint32_t len) { return 1 + len / AQD_GRANULE_BYTES + (len % AQD_GRANULE_BYTES != 0); }

/* Where the granule of a position lies. */
/*@ requires \valid_read(v) && aqd_holds(v);
    assigns \nothing; exits \false;
    ensures 0 <= aqd_slot(v->capacity, position) < v->capacity;
    ensures \result == v->data + aqd_slot(v->capacity, position) * AQD_GRANULE_BYTES; */
static inline const unsigned char *aqd_granule(const struct aqd_ring_view *v, uint64_t position)
{
    return v->data + (size_t)((uint32_t)position & (v->capacity - 1)) * AQD_GRANULE_BYTES;
}

/* Whether it is a user's record, of a kind that this reader knows. */
/*@ requires \valid_read(h);
    assigns \nothing; exits \false;
    ensures \result <==> h->kind == AQD_KIND_DATA || h->kind == AQD_KIND_DATA_ATTRIBUTES; */
static inline bool aqd_is_data(const struct aqd_header *h) { return h->kind == AQD_KIND_DATA || h->kind == AQD_KIND_DATA_ATTRIBUTES; }

/* Units of the attributes after its payload. */
/*@ requires \valid_read(h);
    assigns \nothing; exits \false;
    ensures 0 <= \result <= 255; */
static inline uint32_t aqd_units(const struct aqd_header *h) { return h->kind == AQD_KIND_DATA_ATTRIBUTES ? h->flags : 0; }

/* Whether a header that was loaded is valid at a position before tail, which is at most the
 * capacity ahead (ABI 3). */
/*@ requires \valid_read(h) && aqd_takes(h->granules, h->len) && \valid_read(v) && AQD_MIN_CAPACITY <= v->capacity <= AQD_MAX_CAPACITY;
    assigns \nothing; exits \false;
    ensures \result ==> aqd_fits_in(h, v->capacity, position, tail) && h->computed_crc == h->stored_crc;
    ensures \result && (h->kind == AQD_KIND_DATA || h->kind == AQD_KIND_DATA_ATTRIBUTES) ==> h->len <= v->max_payload; */
static inline bool aqd_is_valid(const struct aqd_header *h, const struct aqd_ring_view *v, uint64_t position, uint64_t tail)
{
    return h->computed_crc == h->stored_crc && h->granules <= tail - position
           && h->granules <= v->capacity - ((uint32_t)position & (v->capacity - 1))
           && (!aqd_is_data(h) || (h->len <= v->max_payload && aqd_units(h) * AQD_ATTRIBUTES_UNIT_BYTES <= h->len));
}

/* Loads the header at a position before tail, once; true if it is valid there. */
/*@ requires \valid_read(v) && aqd_holds(v) && aqd_distance(position, tail) <= v->capacity && \valid(h) && \separated(v, h);
    assigns *h; exits \false;
    ensures aqd_takes(h->granules, h->len);
    ensures \result ==> aqd_fits_in(h, v->capacity, position, tail) && h->computed_crc == h->stored_crc;
    ensures \result && (h->kind == AQD_KIND_DATA || h->kind == AQD_KIND_DATA_ATTRIBUTES) ==> h->len <= v->max_payload; */
static inline bool aqd_load_valid(const struct aqd_ring_view *v, uint64_t position, uint64_t tail, struct aqd_header *h)
{
    aqd_load_header_crc(h, aqd_granule(v, position), v->epoch_crc, (uint32_t)position);
    h->granules = aqd_granules(h->len);
    return aqd_is_valid(h, v, position, tail);
}

/*@ requires \valid(rec) && \valid_read(h) && \separated(rec, h);
    assigns rec->seq, rec->timestamp_ns, rec->len, rec->type_tag, rec->flags, rec->attribute_units; exits \false;
    ensures aqd_total(rec) == h->len; */
static inline void aqd_describe(aqd_record *rec, const struct aqd_header *h)
{
    uint32_t units = aqd_units(h);
    if (units * AQD_ATTRIBUTES_UNIT_BYTES > h->len) {
        units = 0; /* not of a valid header */
    }
    rec->seq = h->seq;
    rec->timestamp_ns = h->timestamp_ns;
    rec->len = h->len - units * AQD_ATTRIBUTES_UNIT_BYTES;
    rec->type_tag = h->type_tag;
    rec->flags = h->kind == AQD_KIND_DATA_ATTRIBUTES ? 0 : h->flags;
    rec->attribute_units = (uint8_t)units;
}

/* Describes a record for which a buffer is too short: as many bytes as it needs. */
/*@ requires \valid(rec) && \valid_read(h) && \separated(rec, h);
    assigns rec->len, rec->attribute_units; exits \false;
    ensures aqd_total(rec) == rec->len == h->len; */
static inline void aqd_describe_need(aqd_record *rec, const struct aqd_header *h)
{
    rec->len = h->len;
    rec->attribute_units = 0;
}

/* Consumes the record that aqd_reader_peek has just described: its header was valid, so as many
 * granules are before the tail. */
/*@ requires \valid(r) && \valid_read(rec) && \separated(r, rec) && r->view.capacity <= AQD_MAX_CAPACITY;
    requires aqd_total(rec) <= UINT32_MAX && aqd_total(rec) <= (aqd_distance(r->position, r->tail) - 1) * AQD_GRANULE_BYTES && aqd_distance(r->position, r->tail) <= r->view.capacity;
    assigns r->position, r->expected_seq; exits \false;
    ensures aqd_distance(r->position, r->tail) < aqd_distance(\old(r->position), r->tail); */
static inline void aqd_consume_peeked(aqd_reader *r, const aqd_record *rec)
{
    r->position += aqd_granules(aqd_extent(rec));
    r->expected_seq = rec->seq + 1;
}

/* Whether position lies before mark, both being in use (ABI 1). */
/*@ assigns \nothing; exits \false; */
static inline bool aqd_is_before(uint64_t position, uint32_t mark) { return (uint32_t)position - mark > UINT32_MAX / 2; }

#endif
