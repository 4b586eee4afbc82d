/* How many bytes a described record has in a buffer: the payload, and the attributes after it. */
#ifndef AQUEDUCT_EXTENT_H
#define AQUEDUCT_EXTENT_H

#include "aqueduct/reader.h"

/*@ logic integer aqd_total(aqd_record *rec) = rec->len + rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES; */

/* All bytes of it that are in the ring, without its header. */
/*@ requires \valid_read(rec);
    assigns \nothing; exits \false;
    ensures aqd_total(rec) <= UINT32_MAX ==> \result == aqd_total(rec); */
static inline uint32_t aqd_extent(const aqd_record *rec)
{
    return rec->len + (uint32_t)rec->attribute_units * AQD_ATTRIBUTES_UNIT_BYTES;
}

#endif
