/* Records that are C structs, read in batches and used where they lie in the batch's buffer: one
 * cursor store a batch, no parsing. Run: build/batch /run/aqueduct.sock demo audit printf
 * '\007\000\000\000\270\126\000\000' | curl --data-binary @- -H 'aqueduct-type: 1'
 * http://127.0.0.1:8080/v1/rings/demo/records Expect: batch of 1: 1 samples, station 7: 22.200, 0
 * of another kind Ends with 0 when the listener closes the ring, 3 if it dies. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "aqueduct/client.h"

#define BATCH_RECORDS 256
#define BATCH_BYTES 65536

/* What the sender writes into a record of type 1, little-endian. */
enum { TYPE_SAMPLE = 1 };
struct sample {
    uint32_t station;
    int32_t millidegrees;
};
_Static_assert(sizeof(struct sample) == 8 && _Alignof(struct sample) <= AQD_BATCH_ALIGN_BYTES, "as sent, and a batch aligns it");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static uint32_t host32(uint32_t little) { return little; }
#else
static uint32_t host32(uint32_t little) { return __builtin_bswap32(little); }
#endif

/* The sender chooses type and length: both are checked before the bytes are a struct. NULL: not a
 * sample. */
static const struct sample *as_sample(const aqd_item *item)
{
    return item->record.type_tag == TYPE_SAMPLE && item->record.len == sizeof(struct sample) ? item->payload : NULL;
}

static void process(const aqd_item *items, size_t n)
{
    size_t samples = 0;
    const struct sample *last = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct sample *sample = as_sample(&items[i]);
        if (sample) {
            samples++;
            last = sample;
        }
    }
    printf("batch of %zu: %zu samples, ", n, samples);
    if (last) {
        printf("station %" PRIu32 ": %.3f, ", host32(last->station), (int32_t)host32((uint32_t)last->millidegrees) / 1000.0);
    }
    printf("%zu of another kind\n", n - samples);
    fflush(stdout);
}

static aqd_status run(aqd_client *c, void *buf, size_t cap)
{
    static aqd_item items[BATCH_RECORDS];
    for (;;) {
        size_t n;
        aqd_status status = aqd_next_batch(c, buf, cap, items, BATCH_RECORDS, &n);
        if (n > 0) {
            process(items, n); /* first, whatever the status says: it is about what comes behind them */
            aqd_release(c);
        }
        switch (status) {
        case AQD_OK: break;
        case AQD_EMPTY: aqd_wait(c, -1); break;
        case AQD_CLOSED: case AQD_LOST: case AQD_ERR_TAIL: aqd_release(c); return status;
        default: fprintf(stderr, "%s\n", aqd_strerror(status)); /* damage: it was skipped and counted */
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s SOCKET RING SUBSCRIPTION\n", argv[0]);
        return 2;
    }
    aqd_client *c;
    aqd_status status = aqd_open(argv[1], argv[2], argv[3], 5000, &c);
    if (status != AQD_OK) {
        fprintf(stderr, "%s: %s\n", aqd_strerror(status), aqd_message(c));
        aqd_close(c);
        return 1;
    }
    /* At least one record of any size must fit. malloc aligns it well enough. */
    size_t cap = aqd_get_info(c)->max_payload > BATCH_BYTES ? aqd_get_info(c)->max_payload : BATCH_BYTES;
    void *buf = malloc(cap);
    if (buf) {
        status = run(c, buf, cap);
        fprintf(stderr, "%s\n", aqd_strerror(status));
    }
    free(buf);
    aqd_close(c);
    return status == AQD_CLOSED ? 0 : status == AQD_LOST ? 3 : 1;
}
