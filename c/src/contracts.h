/* What a reader and an observer must be, and the contracts of the functions that one file here
 * calls in another: for the proof alone (verify/c_proof), a compiler sees no declaration in this
 * file. */
#ifndef AQUEDUCT_CONTRACTS_H
#define AQUEDUCT_CONTRACTS_H

#include "aqueduct/observer.h"
#include "record.h"

/*@ logic integer aqd_unread(aqd_reader *r, integer position) = aqd_distance(position, r->tail);

    predicate aqd_inside(aqd_reader *r) = \valid(r) && aqd_holds(&r->view)
        && \valid(r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1))
        && \separated(r, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));

    predicate aqd_sound(aqd_reader *r) = aqd_inside(r) && aqd_unread(r, r->position) <= r->view.capacity;

    predicate aqd_fits(aqd_reader *r, integer position, struct aqd_header *h) = aqd_fits_in(h, r->view.capacity, position, r->tail);

    predicate aqd_delivered(aqd_reader *r, integer cap, aqd_record *rec) = aqd_total(rec) <= cap && aqd_total(rec) <= r->view.max_payload
        && aqd_total(rec) <= (r->view.capacity - aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES;

    predicate aqd_watching(aqd_observer *o) = \valid(o) && aqd_holds(&o->view)
        && aqd_distance(o->position, o->tail) <= o->view.capacity; */

#ifdef __FRAMAC__
/* On AQD_OK the record lay before the position where the reader stands now, on AQD_ERR_SPACE behind
 * it, and in both cases before the tail. */
/*@ requires aqd_sound(r) && \valid(rec) && \valid((unsigned char *)buf + (0 .. cap - 1));
    requires \separated(r, rec, (unsigned char *)buf + (0 .. cap - 1), r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec, ((unsigned char *)buf)[0 .. cap - 1],
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r);
    ensures \result == AQD_OK ==> aqd_delivered(r, cap, rec);
    ensures \result == AQD_ERR_SPACE ==> aqd_total(rec) <= (aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES; */
aqd_status aqd_reader_next(aqd_reader *r, void *buf, size_t cap, aqd_record *rec);

/* What peek describes is the record behind the position. */
/*@ requires aqd_sound(r) && \valid(rec) && \separated(r, rec, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && \result != AQD_ERR_SPACE;
    ensures \result == AQD_OK ==> aqd_total(rec) <= UINT32_MAX && aqd_total(rec) <= (aqd_unread(r, r->position) - 1) * AQD_GRANULE_BYTES; */
aqd_status aqd_reader_peek(aqd_reader *r, aqd_record *rec);

/*@ requires aqd_watching(o) && \valid(rec) && \valid((unsigned char *)buf + (0 .. cap - 1));
    requires \separated(o, rec, (unsigned char *)buf + (0 .. cap - 1));
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *rec,
            ((unsigned char *)buf)[0 .. cap - 1]; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> aqd_total(rec) <= cap && aqd_total(rec) <= o->view.max_payload; */
aqd_status aqd_observer_next(aqd_observer *o, void *buf, size_t cap, aqd_record *rec);

/*@ requires ring == \null || \valid_read((const unsigned char *)ring + (0 .. ring_bytes - 1));
    requires cursor == \null || \valid((unsigned char *)cursor + (0 .. cursor_bytes - 1));
    requires r == \null || \valid(r);
    requires \separated(r, (const unsigned char *)ring + (0 .. ring_bytes - 1), (unsigned char *)cursor + (0 .. cursor_bytes - 1));
    assigns *r, ((unsigned char *)cursor)[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3]; exits \false;
    ensures \result == AQD_OK || \result == AQD_ERR_TAIL ==> aqd_sound(r);
    ensures \result == AQD_OK || \result == AQD_ERR_TAIL ==> r->view.ring == (const unsigned char *)ring;
    ensures \result == AQD_OK || \result == AQD_ERR_TAIL ==> \base_addr(r->view.data) == \base_addr((const unsigned char *)ring); */
aqd_status aqd_reader_init(aqd_reader *r, const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes);
#endif

#endif
