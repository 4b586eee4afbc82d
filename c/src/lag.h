/* What lag.c knows and the client needs. */
#ifndef AQUEDUCT_LAG_H
#define AQUEDUCT_LAG_H

#include "record.h"

/* What of a reader or an observer it takes to judge a header. */
struct aqd_view {
    const unsigned char *data; /* INVARIANT: capacity granules from here are inside the ring segment */
    uint32_t capacity;         /* INVARIANT: a power of two */
    uint32_t max_payload;
    uint32_t epoch_crc;
};

/* The first DATA record from position on, behind padding records; false if there is none or a
 * header before it is damaged. Consumes nothing. */
/*@ requires \valid_read(v) && aqd_holds(v->data, v->capacity) && \valid(rec) && \separated(v, rec);
    requires aqd_distance(position, tail) <= v->capacity;
    assigns *rec; exits \false; */
bool aqd_first_data(const struct aqd_view *v, uint64_t position, uint64_t tail, aqd_record *rec);

#endif
