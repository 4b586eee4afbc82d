/* Reads every record of a subscription, checks it, and says how many there were.
 * Run: reader SOCKET RING SUBSCRIPTION [PACE_US [NUMBERS]]
 * Expect, after SIGTERM: records=5000 bytes=640000 bad=0
 *
 * A payload is right if all its bytes are those of the bench's pattern (byte i is 'a' + i % 26);
 * that is on top of the CRC of header and payload, which the library checks. A record that is
 * missing is bad, too. With PACE_US it takes that long for each record, while there are some. With
 * NUMBERS a payload is
 * not compared but begins with a number, 8 bytes, and the file gets 16 bytes for each record: its
 * sequence number and that number. Exit: 0 all right, 1 not. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aqueduct/client.h"

/* Released together at the latest, so that a busy producer gets its space back in time. */
#define BATCH_MAX 256

static aqd_client *client;
static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
    aqd_interrupt(client);
}

/* Sleeps until the next record is due. A sleep that was too long is made up for, as long as there
 * are records: otherwise timers and the scheduler would set the pace. */
static void keep_pace(struct timespec *due, long pace_us)
{
    if (due->tv_sec == 0) {
        clock_gettime(CLOCK_MONOTONIC, due);
    }
    due->tv_nsec += pace_us * 1000;
    due->tv_sec += due->tv_nsec / 1000000000;
    due->tv_nsec %= 1000000000;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL);
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc > 6) {
        fprintf(stderr, "usage: reader SOCKET RING SUBSCRIPTION [PACE_US [NUMBERS]]\n");
        return 2;
    }
    long pace_us = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
    FILE *numbers = argc > 5 ? fopen(argv[5], "wb") : NULL;
    if (argc > 5 && !numbers) {
        perror(argv[5]);
        return 1;
    }
    struct timespec due = {0};
    if (aqd_open(argv[1], argv[2], argv[3], 5000, &client) != AQD_OK) {
        fprintf(stderr, "reader: %s\n", aqd_message(client));
        return 1;
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    size_t cap = aqd_get_info(client)->max_payload;
    char *buf = malloc(cap + 1), *pattern = malloc(cap + 1);
    if (!buf || !pattern) {
        return 1;
    }
    for (size_t i = 0; i < cap; i++) {
        pattern[i] = (char)('a' + i % 26);
    }
    uint64_t records = 0, bytes = 0, bad = 0, next_seq = 0;
    aqd_status status = AQD_EMPTY;
    while (status != AQD_CLOSED && status != AQD_LOST && status != AQD_ERR_TAIL) {
        for (unsigned n = 0; n < BATCH_MAX; n++) {
            aqd_record rec;
            status = aqd_next(client, buf, cap, &rec);
            if (status == AQD_OK) {
                bad += records > 0 && rec.seq != next_seq;
                if (numbers) {
                    bad += rec.len < 8 || fwrite(&rec.seq, 8, 1, numbers) + fwrite(buf, 8, 1, numbers) != 2;
                } else {
                    bad += memcmp(buf, pattern, rec.len) != 0;
                }
                next_seq = rec.seq + 1;
                records++;
                bytes += rec.len;
                if (pace_us > 0) {
                    aqd_release(client);
                    keep_pace(&due, pace_us);
                }
            } else if (status == AQD_ERR_HEADER || status == AQD_ERR_PAYLOAD
                       || status == AQD_ERR_GAP) {
                bad++;
            } else {
                break;
            }
        }
        aqd_release(client);
        if (status == AQD_EMPTY) {
            if (stopped) {
                break;
            }
            due.tv_sec = 0; /* time without a record is not made up for */
            aqd_wait(client, 1000);
        }
    }
    printf("records=%" PRIu64 " bytes=%" PRIu64 " bad=%" PRIu64 "\n", records, bytes, bad);
    bad += numbers && fclose(numbers) != 0;
    aqd_close(client);
    free(buf);
    free(pattern);
    return bad != 0;
}
