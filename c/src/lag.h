/* What lag.c knows and the client needs. */
#ifndef AQUEDUCT_LAG_H
#define AQUEDUCT_LAG_H

#include "record.h"

/* The first DATA record from position on, behind fillers; false if there is none or a header before it is damaged. Consumes nothing. */
bool aqd_first_data(const struct aqd_view *v, uint64_t position, uint64_t tail, aqd_record *rec);

#endif
