/* An observer's batches, apart from a reader's, so that who links only a reader gets no observer. Contracts: aqueduct/observer.h.
 * Next: client.c, or your own main loop. */
#include "aqueduct/observer.h"
#include "batch.h"

aqd_status aqd_observer_next_batch(aqd_observer *o, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n)
{
    unsigned char *to = (unsigned char *)buf;
    aqd_status status = AQD_OK;
    size_t at = 0; /* INVARIANT: at most cap */
    *n = 0;
    while (*n < max) {
        aqd_item *item = &items[*n];
        status = aqd_observer_next(o, to + at, cap - at, &item->record);
        if (status != AQD_OK) {
            break;
        }
        item->payload = to + at;
        at = aqd_place_behind(at, item->record.len, cap);
        ++*n;
    }
    return *n > 0 && aqd_will_be_said_again(status) ? AQD_OK : status;
}
