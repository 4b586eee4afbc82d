/* Skipping and batches: nothing here touches shared memory. Contracts: aqueduct/reader.h. Next: seek.c. */
#include "batch.h"
#include "record.h"

aqd_status aqd_reader_skip(aqd_reader *r, aqd_record *rec)
{
    aqd_status status = aqd_reader_peek(r, rec);
    if (status == AQD_OK) {
        /* A valid header: as many granules are before the tail. */
        r->position += aqd_granules(rec->len);
        r->expected_seq = rec->seq + 1;
    }
    return status;
}

aqd_status aqd_reader_next_batch(aqd_reader *r, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    unsigned char *to = (unsigned char *)buf;
    aqd_status status = AQD_OK;
    size_t at = 0; /* INVARIANT: at most cap */
    *n = 0;
    while (*n < max) {
        aqd_item *item = &items[*n];
        status = aqd_reader_next(r, to + at, cap - at, &item->record);
        if (status != AQD_OK) {
            break;
        }
        item->payload = to + at;
        at = aqd_place_behind(at, item->record.len, cap);
        ++*n;
    }
    return *n > 0 && aqd_will_be_said_again(status) ? AQD_OK : status;
}
