/* What batches of readers and of observers have in common: how payloads are packed, and what is
 * answered. */
#ifndef AQUEDUCT_BATCH_H
#define AQUEDUCT_BATCH_H

#include "aqueduct/reader.h"
#include "extent.h"

/* What a batch answers after n records. If it has some, what will be said again when there are none
 * makes it a success. */
/*@ assigns \nothing; exits \false; */
static inline aqd_status aqd_batch_answer(size_t n, aqd_status status)
{
    return n > 0 && (status == AQD_EMPTY || status == AQD_CLOSED || status == AQD_ERR_SPACE) ? AQD_OK : status;
}

/* Notes where the payload lies that was copied to buf + at with its attributes; where the next one
 * may. */
/*@ requires \valid(item) && at <= cap && aqd_total(&item->record) <= cap - at && aqd_total(&item->record) <= UINT32_MAX;
    assigns item->payload; exits \false;
    ensures (unsigned char *)item->payload == buf + at && at + aqd_total(&item->record) <= \result <= cap; */
static inline size_t aqd_batch_keep(aqd_item *item, const unsigned char *buf, size_t at, size_t cap)
{
    item->payload = buf + at;
    size_t bytes = aqd_extent(&item->record);
    size_t left = cap - at - bytes, padding = (0u - bytes) % AQD_BATCH_ALIGN_BYTES;
    return at + bytes + (padding < left ? padding : left);
}

#endif
