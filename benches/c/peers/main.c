/* One measure of one medium between processes that were forked from this one: the sender on core 0,
 * receivers on the others.
 *
 * Run: peers throughput MEDIUM BYTES BATCH RECORDS READERS   records=N ns=N send_cpu_ns=N
 * receive_cpu_ns=N peers trips MEDIUM BYTES TRIPS busy|sleep              p50=N p99=N p999=N
 * cpu_ns=N, ns per round trip MEDIUM: pipe unix mqueue zmq condition semaphore, and for trips the
 * limits: line futex. Several readers: one channel each. Records are numbered and checked; nothing
 * else of them is, and no CRC is made. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "medium.h"

#define MAX_READERS 16
#define TIMEOUT_S 60

static const struct medium *const media[] = { &pipe_medium,      &unix_medium,      &mqueue_medium, &zmq_medium,
                                              &condition_medium, &semaphore_medium, &line_medium,   &futex_medium };

/* What the processes tell one another. */
struct board {
    _Atomic int ready;
    _Atomic uint64_t end_ns[MAX_READERS];
    _Atomic uint64_t cpu_ns[MAX_READERS];
};

void fail(const char *what)
{
    fprintf(stderr, "peers: %s\n", what);
    exit(1);
}

void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory) {
        fail("out of memory");
    }
    return memory;
}

void *share(size_t bytes, int id)
{
    char name[64];
    snprintf(name, sizeof name, "/aqueduct-peers-%d-%d", (int)getpid(), id);
    int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd < 0 || shm_unlink(name) != 0 || ftruncate(fd, (off_t)bytes) != 0) {
        fail("shm_open");
    }
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED) {
        fail("mmap");
    }
    close(fd);
    return base;
}

void pause_for(uint32_t *tries)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("isb");
#endif
    if (++*tries % 4096 == 0) {
        sched_yield();
    }
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Core 0 sends; receivers share the others. */
static void pin(long receiver)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)(receiver < 0 || cores < 2 ? 0 : 1 + receiver % (cores - 1)), &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        fail("two cores are needed");
    }
}

static void stamp(unsigned char *record, size_t bytes, uint64_t seq)
{
    uint64_t complement = ~seq;
    memcpy(record, &seq, sizeof seq);
    memcpy(record + bytes - sizeof complement, &complement, sizeof complement);
}

static void check(const unsigned char *record, size_t bytes, uint64_t seq)
{
    uint64_t first, last;
    memcpy(&first, record, sizeof first);
    memcpy(&last, record + bytes - sizeof last, sizeof last);
    if (first != seq || last != ~seq) {
        fail("not what was sent");
    }
}

static pid_t part(void)
{
    pid_t child = fork();
    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    alarm(TIMEOUT_S);
    return child;
}

static void await_children(int children)
{
    for (int status; children > 0; children--) {
        if (wait(&status) < 0 || status != 0) {
            fail("a receiver failed");
        }
    }
}

/* Numbers every record of the message, from `seq` on. */
static void stamp_all(unsigned char *message, size_t bytes, size_t batch, uint64_t seq)
{
    for (size_t i = 0; i < batch; i++) {
        stamp(message + i * bytes, bytes, seq + i);
    }
}

/* The first message only shows that there is a connection. */
static void read_all(const struct medium *medium, void *channel, size_t bytes, size_t batch, uint64_t records, struct board *board, int reader)
{
    unsigned char *message = allocate(bytes * batch);
    uint64_t cpu = 0;
    for (uint64_t seq = 0; seq < records + batch; seq += batch) {
        medium->receive(channel, message, bytes * batch);
        for (size_t i = 0; i < batch; i++) {
            check(message + i * bytes, bytes, seq + i);
        }
        if (seq == 0) {
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            board->ready++;
        }
    }
    board->end_ns[reader] = clock_ns(CLOCK_MONOTONIC);
    board->cpu_ns[reader] = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
}

/* From the sender's second message to the end of the last receiver. */
static void throughput(const struct medium *medium, size_t bytes, size_t batch, uint64_t records, int readers, struct board *board)
{
    void *channels[MAX_READERS];
    records = (records + batch - 1) / batch * batch;
    for (int i = 0; i < readers; i++) {
        channels[i] = medium->make(bytes * batch, false, i);
    }
    for (int i = 0; i < readers; i++) {
        if (part() == 0) {
            pin(i);
            if (medium->join) {
                medium->join(channels[i], RECEIVING);
            }
            read_all(medium, channels[i], bytes, batch, records, board, i);
            _exit(0);
        }
    }
    pin(-1);
    for (int i = 0; i < readers; i++) {
        if (medium->join) {
            medium->join(channels[i], SENDING);
        }
    }
    unsigned char *message = allocate(bytes * batch);
    uint64_t began = 0, cpu = 0;
    for (uint64_t seq = 0; seq < records + batch; seq += batch) {
        stamp_all(message, bytes, batch, seq);
        for (int i = 0; i < readers; i++) {
            medium->send(channels[i], message, bytes * batch);
        }
        if (seq == 0) {
            while (board->ready < readers) {
                sched_yield();
            }
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            began = clock_ns(CLOCK_MONOTONIC);
        }
    }
    await_children(readers);
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    uint64_t end = 0, receive_cpu = 0;
    for (int i = 0; i < readers; i++) {
        end = board->end_ns[i] > end ? board->end_ns[i] : end;
        receive_cpu += board->cpu_ns[i];
    }
    printf("records=%" PRIu64 " ns=%" PRIu64 " send_cpu_ns=%" PRIu64 " receive_cpu_ns=%" PRIu64 "\n", records, end - began, cpu, receive_cpu);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void trips(const struct medium *medium, size_t bytes, uint64_t count, bool busy, struct board *board)
{
    void *out = medium->make(bytes, busy, 0), *back = medium->make(bytes, busy, 1);
    unsigned char *message = allocate(bytes), *reply = allocate(bytes);
    bool here = part() != 0;
    pin(here ? -1 : 0);
    if (medium->join) {
        medium->join(here ? back : out, RECEIVING);
        medium->join(here ? out : back, SENDING);
    }
    board->ready++;
    while (board->ready < 2) {
        sched_yield();
    }
    uint64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    if (!here) {
        for (uint64_t i = 0; i < count; i++) {
            medium->receive(out, message, bytes);
            medium->send(back, message, bytes);
        }
        board->cpu_ns[0] = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        /* A library may still hold the last reply: do not end before the other side has it. */
        while (board->ready < 3) {
            sched_yield();
        }
        _exit(0);
    }
    uint64_t *samples = allocate(count * sizeof *samples);
    for (uint64_t seq = 0; seq < count; seq++) {
        stamp(message, bytes, seq);
        uint64_t began = clock_ns(CLOCK_MONOTONIC);
        medium->send(out, message, bytes);
        medium->receive(back, reply, bytes);
        samples[seq] = clock_ns(CLOCK_MONOTONIC) - began;
        check(reply, bytes, seq);
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    board->ready++;
    await_children(1);
    qsort(samples, count, sizeof *samples, ascending);
    printf("p50=%" PRIu64 " p99=%" PRIu64 " p999=%" PRIu64 " cpu_ns=%" PRIu64 "\n", samples[(count - 1) / 2], samples[(count - 1) * 99 / 100],
           samples[(count - 1) * 999 / 1000], cpu + board->cpu_ns[0]);
}

int main(int argc, char **argv)
{
    bool stream = argc == 7 && strcmp(argv[1], "throughput") == 0;
    if (!stream && !(argc == 6 && strcmp(argv[1], "trips") == 0)) {
        fail("usage: peers throughput MEDIUM BYTES BATCH RECORDS READERS | trips MEDIUM BYTES TRIPS busy|sleep");
    }
    const struct medium *medium = NULL;
    for (size_t i = 0; i < sizeof media / sizeof *media; i++) {
        if (strcmp(media[i]->name, argv[2]) == 0) {
            medium = media[i];
        }
    }
    size_t bytes = (size_t)strtoull(argv[3], NULL, 10);
    struct board *board = share(sizeof *board, MAX_READERS);
    if (!medium || bytes < 16) {
        fail("no such medium, or less than 16 bytes");
    }
    if (stream) {
        size_t batch = (size_t)strtoull(argv[4], NULL, 10);
        int readers = atoi(argv[6]);
        if (batch < 1 || readers < 1 || readers > MAX_READERS) {
            fail("a batch and 1 to 16 readers are needed");
        }
        throughput(medium, bytes, batch, strtoull(argv[5], NULL, 10), readers, board);
    } else {
        uint64_t count = strtoull(argv[4], NULL, 10);
        trips(medium, bytes, count > 0 ? count : 1, strcmp(argv[5], "busy") == 0, board);
    }
    return 0;
}
