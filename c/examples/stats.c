/* Counts records and their latency, one line an interval; writes the payloads to a file if asked.
 * Run: build/stats /run/aqueduct.sock demo audit --count 5000
 * Expect: received=5000 rate=12345/s p50_us=12.3 p99_us=45.6 crc_failures=0 lost=0
 *
 * rate and percentiles are those of the interval; in the final line those of the whole run. nan: no
 * latency is known, because the records have no timestamp or one of a clock that only the producer
 * can read. Exit: 0 closed, counted or told to stop; 3 lost. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "aqueduct/client.h"

/* Released together at the latest, so that a busy producer gets its space back in time. */
#define BATCH_MAX 256

/* Buckets of 1/16 octave: at most 6 % off. */
#define SUB_BITS 4
#define BUCKETS (64 << SUB_BITS)

struct window {
    uint64_t received;
    uint64_t timed; /* of them with a known latency */
    int64_t since_ns;
    uint64_t buckets[BUCKETS];
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static int64_t clock_ns(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t bucket_of(uint64_t ns)
{
    if (ns < 1u << SUB_BITS) {
        return (size_t)ns;
    }
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns);
    return ((size_t)(octave - SUB_BITS + 1) << SUB_BITS) + (size_t)(ns >> (octave - SUB_BITS) & ((1u << SUB_BITS) - 1));
}

/* Lower edge of a bucket: the inverse of bucket_of. */
static double bucket_ns(size_t bucket)
{
    size_t octave = bucket >> SUB_BITS, sub = bucket & ((1u << SUB_BITS) - 1);
    return octave == 0 ? (double)sub : ldexp((double)(sub + (1u << SUB_BITS)), (int)octave - 1);
}

static double percentile_us(const struct window *w, double part)
{
    uint64_t target = (uint64_t)(part * (double)w->timed), seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += w->buckets[i];
        if (seen > target) {
            return bucket_ns(i) / 1000.0;
        }
    }
    return (double)NAN;
}

static void print_line(const aqd_client *c, const struct window *w, uint64_t received, uint64_t damaged)
{
    double seconds = (double)(clock_ns(CLOCK_MONOTONIC) - w->since_ns) / 1e9;
    printf("received=%" PRIu64 " rate=%.0f/s p50_us=%.1f p99_us=%.1f crc_failures=%" PRIu64 " lost=%" PRIu32 "\n", received,
           seconds > 0 ? (double)w->received / seconds : 0.0, percentile_us(w, 0.5), percentile_us(w, 0.99), damaged,
           aqd_get_stats(c)->lost);
    fflush(stdout);
}

static void note(struct window *w, uint64_t latency_ns, bool timed)
{
    w->received++;
    if (timed) {
        w->timed++;
        w->buckets[bucket_of(latency_ns)]++;
    }
}

struct options {
    FILE *out;
    uint64_t count;
    int64_t interval_ns;
};

static int run(aqd_client *c, const struct options *o, void *buf, size_t cap)
{
    static struct window interval, total;
    const clockid_t clock_id = aqd_get_info(c)->clock_id == AQD_CLOCK_MONOTONIC ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    const bool readable = aqd_get_info(c)->clock_id <= AQD_CLOCK_MONOTONIC;
    uint64_t damaged = 0;
    aqd_status status = AQD_EMPTY;
    interval.since_ns = total.since_ns = clock_ns(CLOCK_MONOTONIC);
    while (!stopped && status != AQD_CLOSED && status != AQD_LOST && status != AQD_ERR_TAIL
           && (o->count == 0 || total.received < o->count)) {
        aqd_record rec;
        unsigned n = 0;
        for (; n < BATCH_MAX && (o->count == 0 || total.received < o->count); n++) {
            status = aqd_next(c, buf, cap, &rec);
            if (status == AQD_OK) {
                int64_t age_ns = clock_ns(clock_id) - (int64_t)rec.timestamp_ns;
                bool timed = readable && rec.timestamp_ns != 0 && age_ns >= 0;
                note(&interval, (uint64_t)age_ns, timed);
                note(&total, (uint64_t)age_ns, timed);
                if (o->out) {
                    fwrite(buf, 1, rec.len, o->out);
                    fputc('\n', o->out);
                }
            } else if (status == AQD_ERR_HEADER || status == AQD_ERR_PAYLOAD) {
                damaged++;
            } else if (status != AQD_ERR_GAP) {
                break;
            }
        }
        if (o->out && n > 0 && fflush(o->out) != 0) {
            perror("--out");
            return 1;
        }
        aqd_release(c);
        int64_t now_ns = clock_ns(CLOCK_MONOTONIC), left_ns = interval.since_ns + o->interval_ns - now_ns;
        if (left_ns <= 0) {
            print_line(c, &interval, total.received, damaged);
            memset(&interval, 0, sizeof interval);
            interval.since_ns = now_ns;
        } else if (status == AQD_EMPTY && !stopped) {
            aqd_wait(c, (int)(left_ns / 1000000) + 1);
        }
    }
    print_line(c, &total, total.received, damaged);
    if (status == AQD_ERR_TAIL) {
        fprintf(stderr, "%s\n", aqd_strerror(status));
        return 1;
    }
    return status == AQD_LOST ? 3 : 0;
}

int main(int argc, char **argv)
{
    struct options o = {.interval_ns = 1000000000};
    for (int i = 4; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--out") == 0) {
            o.out = fopen(argv[i + 1], "wb");
            if (!o.out) {
                perror(argv[i + 1]);
                return 1;
            }
        } else if (strcmp(argv[i], "--count") == 0) {
            o.count = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--interval-ms") == 0) {
            o.interval_ns = strtol(argv[i + 1], NULL, 10) * INT64_C(1000000);
        } else {
            argc = 0;
        }
    }
    if (argc < 4 || argc % 2 != 0 || o.interval_ns <= 0) {
        fprintf(stderr, "usage: stats SOCKET RING SUBSCRIPTION [--out FILE] [--count N] [--interval-ms M]\n");
        return 2;
    }
    /* Without SA_RESTART: a signal ends aqd_wait. One that falls just before it is seen an interval
     * later. */
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    aqd_client *c;
    aqd_status status = aqd_open(argv[1], argv[2], argv[3], 5000, &c);
    if (status != AQD_OK) {
        fprintf(stderr, "%s: %s\n", aqd_strerror(status), aqd_message(c));
        aqd_close(c);
        return 1;
    }
    size_t cap = aqd_get_info(c)->max_payload;
    void *buf = malloc(cap + 1);
    int code = buf ? run(c, &o, buf, cap) : 1;
    if (o.out && fclose(o.out) != 0) {
        perror("--out");
        code = 1;
    }
    free(buf);
    aqd_close(c);
    return code;
}
