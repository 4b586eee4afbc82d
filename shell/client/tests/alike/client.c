/* The C client of the common scripts: opens as its arguments say, reads to the end, and prints a
 * line for every event. tests/alike/rust.rs prints the same from the Rust client. Arguments: the
 * socket, then name=value. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "aqueduct/client.h"

struct plan {
    aqd_options options;
    uint64_t seek_epoch, seek_seq;
    bool seek;
    uint64_t pause_after; /* records; 0: never */
};

static void print_open(const aqd_client *c, aqd_status status)
{
    switch (status) {
    case AQD_OK: {
        const aqd_ring_info *i = aqd_get_info(c);
        printf("open epoch=%" PRIu64 " created=%" PRIu64 " capacity=%" PRIu32 " max=%" PRIu32 " clock=%" PRIu32 " minor=%u name=%s\n",
               i->epoch, i->created_ns, i->capacity, i->max_payload, i->clock_id, i->abi_minor, i->name);
        break;
    }
    case AQD_ERR_REFUSED: printf("open refused %" PRIu32 " %s\n", aqd_refusal(c), aqd_message(c)); break;
    case AQD_ERR_SYSTEM: printf("open system %d\n", aqd_errno(c)); break;
    case AQD_ERR_ARGUMENT: printf("open argument\n"); break;
    case AQD_ERR_TIMEOUT: printf("open timeout\n"); break;
    case AQD_ERR_HANGUP: printf("open hangup\n"); break;
    case AQD_ERR_PROTOCOL: printf("open protocol\n"); break;
    case AQD_ERR_NOT_SEALED: printf("open not sealed\n"); break;
    case AQD_ERR_SIZE: printf("open size\n"); break;
    case AQD_ERR_MAGIC: printf("open magic\n"); break;
    case AQD_ERR_VERSION: printf("open version\n"); break;
    case AQD_ERR_CHECKSUM: printf("open checksum\n"); break;
    case AQD_ERR_GEOMETRY: printf("open geometry\n"); break;
    case AQD_ERR_CURSOR: printf("open cursor\n"); break;
    case AQD_ERR_TAIL: printf("open tail\n"); break;
    default: printf("open %d\n", (int)status);
    }
}

static void print_end(aqd_status end, const aqd_evidence *e)
{
    if (end == AQD_ERR_TAIL) {
        printf("tail position=%" PRIu32 " tail=%" PRIu32 "\n", (uint32_t)e->position, (uint32_t)e->tail);
    } else {
        printf("%s\n", end == AQD_CLOSED ? "closed" : "lost");
    }
}

static void print_event(const aqd_client *c, aqd_status status, const aqd_record *rec, const char *payload)
{
    const aqd_evidence *e = aqd_get_evidence(c);
    const aqd_change *change = aqd_get_change(c);
    switch (status) {
    case AQD_OK:
        printf("record %" PRIu64 " type=%u len=%" PRIu32 " time=%" PRIu64 " %.*s", rec->seq, rec->type_tag, rec->len, rec->timestamp_ns,
               (int)rec->len, payload);
        aqd_named_value one;
        for (uint32_t at = 0; aqd_next_attribute(rec, payload, &at, &one);) {
            printf(" %.*s=%.*s", (int)one.name_bytes, (const char *)one.name, (int)one.value_bytes, (const char *)one.value);
        }
        printf("\n");
        break;
    case AQD_ERR_PAYLOAD:
        printf("payload seq=%" PRIu64 " position=%" PRIu32 " stored=%08" PRIx32 " computed=%08" PRIx32 "\n", e->found_seq,
               (uint32_t)e->position, e->stored_crc, e->computed_crc);
        break;
    case AQD_ERR_HEADER:
        printf("header position=%" PRIu32 " resumed=%" PRIu32 " stored=%08" PRIx32 " computed=%08" PRIx32 "\n", (uint32_t)e->position,
               (uint32_t)e->resumed, e->stored_crc, e->computed_crc);
        break;
    case AQD_ERR_GAP: printf("gap expected=%" PRIu64 " found=%" PRIu64 "\n", e->expected_seq, e->found_seq); break;
    case AQD_ERR_OVERRUN:
        if (e->found_seq == e->expected_seq) {
            printf("overrun\n");
        } else {
            printf("overrun expected=%" PRIu64 " found=%" PRIu64 "\n", e->expected_seq, e->found_seq);
        }
        break;
    case AQD_EPOCH_CHANGED:
        printf("epoch old=%" PRIu64 " new=%" PRIu64 " next=%" PRIu64 " missed=%" PRIu32 " old end: ", change->old_epoch, change->new_epoch,
               change->old_next_seq, change->missed);
        printf("%s\n", change->old_end == AQD_CLOSED ? "closed" : change->old_end == AQD_LOST ? "lost" : "tail");
        break;
    default: print_end(status, e);
    }
}

static void print_seek(const aqd_client *c, aqd_status status)
{
    switch (status) {
    case AQD_OK: printf("seek found\n"); break;
    case AQD_AHEAD: printf("seek ahead\n"); break;
    case AQD_ERR_GONE: printf("seek gone %" PRIu64 "\n", aqd_get_evidence(c)->found_seq); break;
    case AQD_ERR_EPOCH: printf("seek epoch\n"); break;
    default: printf("seek %d\n", (int)status);
    }
}

/* Says so, and goes on when it is told. */
static void pause_here(void)
{
    printf("paused\n");
    fflush(stdout);
    char go;
    if (read(STDIN_FILENO, &go, 1) != 1) {
        exit(1);
    }
}

static void run(aqd_client *c, const struct plan *plan)
{
    static char buf[1 << 16];
    uint64_t records = 0;
    for (;;) {
        aqd_record rec = {0};
        aqd_status status = aqd_next(c, buf, sizeof buf, &rec);
        if (status == AQD_EMPTY) {
            aqd_release(c);
            if (aqd_wait(c, -1) != AQD_OK) {
                printf("no wait\n");
                return;
            }
            continue;
        }
        print_event(c, status, &rec, buf);
        fflush(stdout);
        if (status == AQD_CLOSED || status == AQD_LOST || status == AQD_ERR_TAIL) {
            return;
        }
        records += status == AQD_OK;
        if (status == AQD_OK && records == plan->pause_after) {
            pause_here();
        }
    }
}

static void parse(struct plan *plan, const char *argument)
{
    const char *value = strchr(argument, '=') + 1;
    int number = atoi(value);
    switch (argument[0]) {
    case 'r': plan->options.ring = value; break;
    case 's': plan->options.subscription = value; break;
    case 'S': plan->options.start = (aqd_start)number; break;
    case 'o': plan->options.observe = number; break;
    case 't': plan->options.timeout_ms = number; break;
    case 'R': plan->options.reconnect_ms = number; break;
    case 'O': plan->options.open_retry_ms = number; break;
    case 'e': plan->seek_epoch = strtoull(value, NULL, 10); break;
    case 'n': plan->seek_seq = strtoull(value, NULL, 10), plan->seek = true; break;
    case 'b': plan->options.standby = number; break;
    case 'p': plan->pause_after = (uint64_t)number; break;
    default: exit(2);
    }
}

int main(int argc, char **argv)
{
    struct plan plan = {.options = {.size = sizeof(aqd_options), .path = argv[1], .backoff_min_ms = 1, .backoff_max_ms = 10}};
    for (int i = 2; i < argc; i++) {
        parse(&plan, argv[i]);
    }
    aqd_client *c;
    aqd_status status = aqd_open_with(&plan.options, &c);
    print_open(c, status);
    if (status == AQD_OK) {
        if (plan.seek) {
            print_seek(c, aqd_seek(c, plan.seek_epoch, plan.seek_seq));
        }
        run(c, &plan);
        const aqd_stats *s = aqd_get_stats(c);
        const aqd_totals *t = aqd_get_totals(c);
        printf("stats corrupt=%" PRIu32 " lost=%" PRIu32 "\n", s->corrupt, s->lost);
        printf("totals records=%" PRIu64 " bytes=%" PRIu64 " attachments=%" PRIu64 "\n", t->records, t->payload_bytes, t->attachments);
        printf("attached=%d\n", aqd_is_attached(c));
    }
    aqd_close(c);
    return 0;
}
