/* Opening a ring segment: what a reader and an observer check alike. */
#ifndef AQUEDUCT_RING_H
#define AQUEDUCT_RING_H

#include "aqueduct/reader.h"
#include "record.h"

/* Copies the header of the ring segment at ring, checks the copy by ABI 2.1 and fills in *view and
 * *info from it. AQD_OK; AQD_ERR_SIZE, _MAGIC, _VERSION, _CHECKSUM, _GEOMETRY: both are untouched.
 * ring is aligned to AQD_SEGMENT_ALIGN_BYTES. */
/*@ requires \valid(view) && \valid(info) && \valid_read(ring + (0 .. ring_bytes - 1));
    requires \separated(view, info, ring + (0 .. ring_bytes - 1));
    assigns *view, *info; exits \false;
    ensures \result != AQD_ERR_TAIL;
    ensures \result == AQD_OK ==> aqd_holds(view) && view->ring == ring;
    ensures \result == AQD_OK ==> \exists integer offset; AQD_DATA_OFFSET_MIN <= offset && view->data == ring + offset
                                   && offset + view->capacity * AQD_GRANULE_BYTES <= ring_bytes; */
AQD_INTERNAL aqd_status aqd_ring_open(struct aqd_ring_view *view, aqd_ring_info *info, const unsigned char *ring, size_t ring_bytes);

#endif
