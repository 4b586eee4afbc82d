/* The reader of the end-to-end tests: says on stdout what it saw and what it released, in an order
 * that survives its own death. Run: build/e2e_reader SOCKET RING SUBSCRIPTION [--release-every N]
 * [--delay-us U] [--reconnect-ms R]
 *
 *   R seq type len timestamp payload   a record (payload raw: the tests send printable ones)
 *   C seq                              released; seq is the next record that is not
 *   N epoch missed=flags               attached to another ring, because of --reconnect-ms
 *   E name details                     an error status, with its evidence
 *   END closed | END lost              exit 0
 *
 * A batch is what is there now, at most N records (64); its lines are flushed before its cursor
 * store, so a record without an R line was certainly not released. Every record takes U
 * microseconds (0). */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aqueduct/client.h"

static void print_error(const aqd_client *c, aqd_status status)
{
    const aqd_evidence *e = aqd_get_evidence(c);
    switch (status) {
    case AQD_ERR_HEADER:
        printf("E header position=%" PRIu64 " resumed=%" PRIu64 " stored=%08" PRIx32 " computed=%08" PRIx32 "\n", e->position, e->resumed,
               e->stored_crc, e->computed_crc);
        break;
    case AQD_ERR_PAYLOAD:
        printf("E payload seq=%" PRIu64 " position=%" PRIu64 " stored=%08" PRIx32 " computed=%08" PRIx32 "\n", e->found_seq, e->position,
               e->stored_crc, e->computed_crc);
        break;
    case AQD_ERR_GAP: printf("E gap expected=%" PRIu64 " found=%" PRIu64 "\n", e->expected_seq, e->found_seq); break;
    case AQD_ERR_TAIL: printf("E tail position=%" PRIu64 " tail=%" PRIu64 "\n", e->position, e->tail); break;
    default: printf("E other %s\n", aqd_strerror(status)); break;
    }
}

static int run(aqd_client *c, char *buf, size_t cap, unsigned long release_every, long delay_us)
{
    uint64_t next_seq = 0;
    for (;;) {
        aqd_record rec;
        aqd_status status = AQD_OK;
        unsigned long n = 0;
        for (; n < release_every && (status = aqd_next(c, buf, cap, &rec)) != AQD_EMPTY; n++) {
            if (status == AQD_OK) {
                printf("R %" PRIu64 " %u %" PRIu32 " %" PRIu64 " %.*s\n", rec.seq, rec.type_tag, rec.len, rec.timestamp_ns, (int)rec.len, buf);
            } else if (status == AQD_CLOSED || status == AQD_LOST) {
                break;
            } else if (status == AQD_EPOCH_CHANGED) {
                printf("N %" PRIu64 " missed=%" PRIu32 "\n", aqd_get_change(c)->new_epoch, aqd_get_change(c)->missed);
                next_seq = 0;
            } else {
                print_error(c, status);
            }
            if (status == AQD_ERR_TAIL || status == AQD_ERR_SPACE) {
                fflush(stdout);
                return 1;
            }
            if (status == AQD_OK || status == AQD_ERR_PAYLOAD) {
                next_seq = rec.seq + 1;
            }
            if (delay_us > 0) {
                nanosleep(&(struct timespec){.tv_sec = delay_us / 1000000, .tv_nsec = delay_us % 1000000 * 1000}, NULL);
            }
        }
        if (n > 0) {
            fflush(stdout);
            aqd_release(c);
            printf("C %" PRIu64 "\n", next_seq);
        }
        if (status == AQD_CLOSED || status == AQD_LOST) {
            printf("END %s\n", status == AQD_CLOSED ? "closed" : "lost");
            return 0;
        }
        fflush(stdout);
        if (n == 0 && aqd_wait(c, -1) == AQD_ERR_SYSTEM) {
            printf("E wait\n");
            return 1;
        }
    }
}

int main(int argc, char **argv)
{
    unsigned long release_every = 64;
    long delay_us = 0;
    aqd_options options = {.size = sizeof options};
    if (argc < 4 || argc % 2 != 0) {
        fprintf(stderr, "usage: e2e_reader SOCKET RING SUBSCRIPTION [--release-every N] [--delay-us U] [--reconnect-ms R]\n");
        return 2;
    }
    for (int i = 4; i < argc; i += 2) {
        if (strcmp(argv[i], "--release-every") == 0) {
            release_every = strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--delay-us") == 0) {
            delay_us = strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--reconnect-ms") == 0) {
            options.reconnect_ms = (int32_t)strtol(argv[i + 1], NULL, 10);
        }
    }
    aqd_client *c;
    options.path = argv[1];
    options.ring = argv[2];
    options.subscription = argv[3];
    aqd_status status = aqd_open_with(&options, &c);
    if (status != AQD_OK) {
        printf("E open status=%d refusal=%" PRIu32 " %s: %s\n", (int)status, aqd_refusal(c), aqd_strerror(status), aqd_message(c));
        aqd_close(c);
        return 1;
    }
    size_t cap = aqd_get_info(c)->max_payload;
    char *buf = malloc(cap + 1);
    int code = buf ? run(c, buf, cap, release_every > 0 ? release_every : 1, delay_us) : 1;
    free(buf);
    aqd_close(c);
    return code;
}
