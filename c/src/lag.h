/* What lag.c knows and the client needs. */
#ifndef AQUEDUCT_LAG_H
#define AQUEDUCT_LAG_H

#include "record.h"

/* The first DATA record from position on, behind padding records; false if there is none or a
 * header before it is damaged. Consumes nothing. */
/*@ requires \valid_read(v) && aqd_holds(v) && \valid(rec) && \separated(v, rec);
    requires aqd_distance(position, tail) <= v->capacity;
    assigns *rec; exits \false; */
AQD_INTERNAL bool aqd_first_data(const struct aqd_ring_view *v, uint64_t position, uint64_t tail, aqd_record *rec);

#endif
