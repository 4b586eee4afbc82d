/* What a batch is, for readers and observers. Next: batch.c, observer_batch.c. */
#ifndef AQUEDUCT_BATCH_H
#define AQUEDUCT_BATCH_H

#include <stdbool.h>

#include "aqueduct/reader.h"

/* Whether a batch that has records ends here as a success: this answer will be given again when there are none. */
static inline bool aqd_will_be_said_again(aqd_status status)
{
    return status == AQD_EMPTY || status == AQD_CLOSED || status == AQD_ERR_SPACE;
}

/* Where the next payload goes, behind one of len bytes at `at`: aligned, or at the end of the cap bytes. */
static inline size_t aqd_place_behind(size_t at, uint32_t len, size_t cap)
{
    size_t left = cap - at - len, filler = (0u - (size_t)len) % AQD_BATCH_ALIGN_BYTES;
    return at + len + (filler < left ? filler : left);
}

#endif
