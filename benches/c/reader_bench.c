/* The C reader of `cross`: the same loops as in benches/src/ring.rs, over two inherited memfds.
 * view: as busy, but payloads are checked where they lie, and not copied.
 * Run: reader_bench read RING_FD PAGE_FD RECORDS BYTES busy|view|sleep|drain RELEASE_EVERY CORE
 *
 *   ready             attached and waiting END CPU READING   when it had the last record
 *   (CLOCK_MONOTONIC), CPU time since `ready`; drain: only while there was something to read; ns */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "aqueduct/reader.h"

#define SLEEP_MS 1000 /* every sleep has an end */

static void fail(const char *what)
{
    fprintf(stderr, "reader_bench: %s\n", what);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
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

/* `Backoff` of benches/src/work.rs: 512 pauses. Who is waited for pauses once. */
static void pause_for(uint32_t *step, uint32_t pauses)
{
    for (uint32_t i = 0; i < pauses; i++) {
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

static void sleep_on(aqd_reader *reader, const void *ring)
{
    uint32_t tail;
    if (aqd_reader_prepare_sleep(reader, AQD_WAITING_FUTEX, &tail)) {
        struct timespec timeout = { .tv_sec = SLEEP_MS / 1000 };
        long outcome = syscall(SYS_futex, (const unsigned char *)ring + AQD_RING_TAIL, FUTEX_WAIT, tail, &timeout, NULL, 0);
        aqd_reader_finish_sleep(reader, outcome != 0 && errno == ETIMEDOUT);
    }
}

static void pin(size_t core)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        fail("two cores are needed");
    }
}

int main(int argc, char **argv)
{
    if (argc != 9 || strcmp(argv[1], "read") != 0) {
        fail("usage: reader_bench read RING_FD PAGE_FD RECORDS BYTES busy|view|sleep|drain RELEASE_EVERY CORE");
    }
    size_t ring_bytes, page_bytes, bytes = (size_t)strtoull(argv[5], NULL, 10);
    void *ring = map(atoi(argv[2]), PROT_READ, &ring_bytes);
    void *page = map(atoi(argv[3]), PROT_READ | PROT_WRITE, &page_bytes);
    uint64_t records = strtoull(argv[4], NULL, 10), seq = 0, began = 0, reading = 0;
    bool drain = strcmp(argv[6], "drain") == 0, asleep = strcmp(argv[6], "sleep") == 0, running = false;
    bool view = strcmp(argv[6], "view") == 0;
    uint32_t release_every = (uint32_t)strtoul(argv[7], NULL, 10), unreleased = 0, step = 0;
    unsigned char *buf = bytes < 16 ? NULL : malloc(bytes);
    aqd_reader reader;
    pin((size_t)atoi(argv[8]));
    if (!buf) {
        fail("at least 16 bytes are needed");
    }
    if (aqd_reader_init(&reader, ring, ring_bytes, page, page_bytes) != AQD_OK) {
        fail("not a ring and its page");
    }
    puts("ready");
    fflush(stdout);
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    while (seq < records) {
        aqd_record rec;
        const void *payload = buf;
        aqd_status status = view ? aqd_reader_view(&reader, &payload, &rec) : aqd_reader_next(&reader, buf, bytes, &rec);
        if (status == AQD_OK) {
            if (!running) {
                running = true;
                if (drain) {
                    began = clock_ns(CLOCK_MONOTONIC);
                }
            }
            check((const unsigned char *)payload, rec.len, seq, bytes);
            seq++;
            if (++unreleased == release_every) {
                unreleased = 0;
                aqd_reader_release(&reader);
            }
        } else if (status == AQD_EMPTY) {
            if (running) {
                running = false;
                step = 0;
                if (drain) {
                    reading += clock_ns(CLOCK_MONOTONIC) - began;
                }
            }
            if (unreleased > 0) {
                unreleased = 0;
                aqd_reader_release(&reader);
            }
            if (asleep) {
                sleep_on(&reader, ring);
            } else {
                pause_for(&step, release_every == 1 ? 1 : 512);
            }
        } else {
            fail("a damaged ring");
        }
    }
    uint64_t end = clock_ns(CLOCK_MONOTONIC);
    if (drain && running) {
        reading += end - began;
    }
    aqd_reader_release(&reader);
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", end, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu, reading);
    return 0;
}
