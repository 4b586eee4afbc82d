/* Peeking, skipping and batches: nothing here touches shared memory. Contracts: aqueduct/reader.h, aqueduct/observer.h. Next: seek.c. */
#include "aqueduct/observer.h"
#include "record.h"

aqd_status aqd_reader_peek(aqd_reader *r, aqd_record *rec)
{
    unsigned char none[1];
    aqd_status status = aqd_reader_next(r, none, 0, rec);
    if (status == AQD_ERR_SPACE) {
        return AQD_OK;
    }
    if (status == AQD_OK) {
        /* No room was enough for it, so it is empty: one granule, put back. */
        r->position -= 1;
        r->expected_seq = rec->seq;
    }
    return status;
}

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

/* Whether a batch that has records ends here as a success: this answer will be given again when there are none. */
static bool will_be_said_again(aqd_status status)
{
    return status == AQD_EMPTY || status == AQD_CLOSED || status == AQD_ERR_SPACE;
}

/* For both kinds, of which the other is null. */
static inline aqd_status batch(aqd_reader *r, aqd_observer *o, unsigned char *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    *n = 0;
    aqd_status status = AQD_OK;
    size_t at = 0; /* INVARIANT: at most cap */
    while (*n < max) {
        aqd_item *item = &items[*n];
        status = r ? aqd_reader_next(r, buf + at, cap - at, &item->record) : aqd_observer_next(o, buf + at, cap - at, &item->record);
        if (status != AQD_OK) {
            break;
        }
        item->payload = buf + at;
        ++*n;
        size_t left = cap - at - item->record.len, filler = (0u - (size_t)item->record.len) % AQD_BATCH_ALIGN_BYTES;
        at += item->record.len + (filler < left ? filler : left);
    }
    return *n > 0 && will_be_said_again(status) ? AQD_OK : status;
}

aqd_status aqd_reader_next_batch(aqd_reader *r, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    return batch(r, NULL, (unsigned char *)buf, cap, items, max, n);
}

aqd_status aqd_observer_next_batch(aqd_observer *o, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    return batch(NULL, o, (unsigned char *)buf, cap, items, max, n);
}
