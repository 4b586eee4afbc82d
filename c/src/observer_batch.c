/* Batches of an observer, apart from those of a reader, which so link no observer. Contracts:
 * aqueduct/observer.h. */
#include "compiler.h"

#include "aqueduct/observer.h"
#include "batch.h"
#include "contracts.h"

/*@ requires aqd_watching(o) && \valid((unsigned char *)buf + (0 .. cap - 1)) && \valid(items + (0 .. max - 1)) && \valid(n);
    requires \separated(o, items + (0 .. max - 1), n, (unsigned char *)buf + (0 .. cap - 1));
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, items[0 .. max - 1], *n,
            ((unsigned char *)buf)[0 .. cap - 1]; exits \false;
    ensures aqd_watching(o) && *n <= max; */
aqd_status aqd_observer_next_batch(aqd_observer *o, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    unsigned char *bytes = (unsigned char *)buf;
    aqd_status status = AQD_OK;
    size_t at = 0;
    *n = 0;
    /*@ loop invariant aqd_watching(o) && *n <= max && at <= cap;
        loop assigns status, at, o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats,
                     items[0 .. max - 1], *n, bytes[0 .. cap - 1];
        loop variant max - *n; */
    while (*n < max) {
        aqd_item *item = &items[*n];
        status = aqd_observer_next(o, bytes + at, cap - at, &item->record);
        if (status != AQD_OK) {
            break;
        }
        at = aqd_batch_keep(item, bytes, at, cap);
        ++*n;
    }
    return aqd_batch_answer(*n, status);
}
