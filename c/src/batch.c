/* Skipping and batches: nothing here touches shared memory. Contracts: aqueduct/reader.h. */
#include "compiler.h"

#include "batch.h"
#include "contracts.h"
#include "record.h"

/*@ requires aqd_sound(r) && \valid(rec) && \separated(r, rec, r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, *rec,
            r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r); */
aqd_status aqd_reader_skip(aqd_reader *r, aqd_record *rec)
{
    aqd_status status = aqd_reader_peek(r, rec);
    if (status == AQD_OK) {
        aqd_consume_peeked(r, rec);
    }
    return status;
}

/*@ requires aqd_sound(r) && \valid((unsigned char *)buf + (0 .. cap - 1)) && \valid(items + (0 .. max - 1)) && \valid(n);
    requires \separated(r, items + (0 .. max - 1), n, (unsigned char *)buf + (0 .. cap - 1), r->cursor + (0 .. AQD_CURSOR_BYTES_MIN - 1));
    assigns r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, items[0 .. max - 1], *n,
            ((unsigned char *)buf)[0 .. cap - 1], r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3]; exits \false;
    ensures aqd_sound(r) && *n <= max; */
aqd_status aqd_reader_next_batch(aqd_reader *r, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    unsigned char *bytes = (unsigned char *)buf;
    aqd_status status = AQD_OK;
    size_t at = 0;
    *n = 0;
    /*@ loop invariant aqd_sound(r) && *n <= max && at <= cap;
        loop assigns status, at, r->position, r->tail, r->expected_seq, r->seq_known, r->evidence, r->stats, items[0 .. max - 1], *n,
                     bytes[0 .. cap - 1], r->cursor[AQD_CURSOR_CORRUPT .. AQD_CURSOR_LOST + 3];
        loop variant max - *n; */
    while (*n < max) {
        aqd_item *item = &items[*n];
        status = aqd_reader_next(r, bytes + at, cap - at, &item->record);
        if (status != AQD_OK) {
            break;
        }
        at = aqd_batch_keep(item, bytes, at, cap);
        ++*n;
    }
    return aqd_batch_answer(*n, status);
}
