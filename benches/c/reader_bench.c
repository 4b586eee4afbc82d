/* The C reader of `cross`: the same loop as `receive` of benches/src/ring.rs, over two inherited memfds.
 * Run: reader_bench RING_FD PAGE_FD RECORDS BYTES drain|follow
 *
 *   ready    attached and waiting
 *   NS       follow: from the first record to the last; drain: only while there was something to read */
#define _GNU_SOURCE
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "aqueduct/reader.h"

#define RECEIVER_CORE 1
#define RELEASE_EVERY 64

static void fail(const char *what)
{
    fprintf(stderr, "reader_bench: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void *map(int fd, int protection, size_t *bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        fail("not a descriptor");
    }
    *bytes = (size_t)st.st_size;
    void *base = mmap(NULL, *bytes, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED) {
        fail("mmap");
    }
    return base;
}

/* `Backoff` of benches/src/work.rs. */
static void pause_for(uint32_t *step)
{
    for (uint32_t i = 0; i < UINT32_C(1) << (*step < 6 ? *step : 6); i++) {
#if defined __x86_64__
        __builtin_ia32_pause();
#elif defined __aarch64__
        __asm__ volatile("isb");
#endif
    }
    if (*step > 64) {
        sched_yield();
    }
    ++*step;
}

static inline void check(const unsigned char *payload, uint32_t len, uint64_t seq, size_t bytes)
{
    uint64_t first, last;
    memcpy(&first, payload, sizeof first);
    memcpy(&last, payload + bytes - sizeof last, sizeof last);
    if (len != bytes || first != seq || last != ~seq) {
        fail("not what was sent");
    }
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fail("usage: reader_bench RING_FD PAGE_FD RECORDS BYTES drain|follow");
    }
    size_t ring_bytes, page_bytes;
    void *ring = map(atoi(argv[1]), PROT_READ, &ring_bytes);
    void *page = map(atoi(argv[2]), PROT_READ | PROT_WRITE, &page_bytes);
    uint64_t records = strtoull(argv[3], NULL, 10), seq = 0, began = 0, took = 0;
    size_t bytes = (size_t)strtoull(argv[4], NULL, 10);
    bool drain = strcmp(argv[5], "drain") == 0, running = false;
    uint32_t unreleased = 0, step = 0;
    unsigned char *buf = bytes < 16 ? NULL : malloc(bytes);
    aqd_reader reader;
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(RECEIVER_CORE, &core);
    if (!buf || sched_setaffinity(0, sizeof core, &core) != 0) {
        fail("two cores and at least 16 bytes are needed");
    }
    if (aqd_reader_init(&reader, ring, ring_bytes, page, page_bytes) != AQD_OK) {
        fail("not a ring and its page");
    }
    puts("ready");
    fflush(stdout);
    while (seq < records) {
        aqd_record rec;
        aqd_status status = aqd_reader_next(&reader, buf, bytes, &rec);
        if (status == AQD_OK) {
            if (!running) {
                running = true;
                if (drain || began == 0) {
                    began = now_ns();
                }
            }
            check(buf, rec.len, seq, bytes);
            seq++;
            if (++unreleased == RELEASE_EVERY) {
                unreleased = 0;
                aqd_reader_release(&reader);
            }
        } else if (status == AQD_EMPTY) {
            if (running) {
                running = false;
                step = 0;
                if (drain) {
                    took += now_ns() - began;
                }
            }
            if (unreleased > 0) {
                unreleased = 0;
                aqd_reader_release(&reader);
            }
            pause_for(&step);
        } else {
            fail("a damaged ring");
        }
    }
    if (!drain || running) {
        took += now_ns() - began;
    }
    aqd_reader_release(&reader);
    printf("%" PRIu64 "\n", took);
    free(buf);
    return 0;
}
