/* The reading loop that the documents show (examples/reader.c), run against a listener that goes
 * on, fills its ring, damages records, evicts and ends. */
#define _GNU_SOURCE 1
#include <time.h>

#include "fake_listener.h"

static const char *path;
static aqd_status open_here(const char *there, const char *ring, const char *subscription, int timeout_ms, aqd_client **out)
{
    (void)there;
    return aqd_open(path, ring, subscription, timeout_ms, out);
}

/* A ring that is never empty while there is food: each record read is followed by another one. How
 * many are read, at most, before something is released. */
static struct fake *fed;
static int food, kept, most_kept;
static aqd_status next_here(aqd_client *c, void *buf, size_t cap, aqd_record *rec, int timeout_ms)
{
    if (fed != NULL && food > 0) {
        food--;
        writer_data(&fed->w, 0, "x", 1);
        writer_publish(&fed->w);
    }
    aqd_status s = aqd_next_wait(c, buf, cap, rec, timeout_ms);
    kept += s == AQD_OK;
    most_kept = kept > most_kept ? kept : most_kept;
    return s;
}

static aqd_status release_here(aqd_client *c)
{
    kept = 0;
    return aqd_release(c);
}

static int reader_main(void);
#define main reader_main
#define aqd_open open_here
#define aqd_next_wait next_here
#define aqd_release release_here
#include "../examples/reader.c"
#undef main
#undef aqd_open
#undef aqd_next_wait
#undef aqd_release

struct run {
    struct fake f;
    int status;
};

static void *read_on(void *argument)
{
    struct run *r = argument;
    r->status = reader_main();
    return NULL;
}

static uint32_t word(const unsigned char *at) { return aqd_le32(__atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_ACQUIRE)); }

static bool within_a_while(const unsigned char *at, uint32_t least)
{
    for (int i = 0; i < 10000 && word(at) < least; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return word(at) >= least;
}

static void publish(struct run *r, int n)
{
    for (int i = 0; i < n; i++) {
        writer_data(&r->f.w, 0, "x", 1);
    }
    writer_publish(&r->f.w);
    fake_wake(&r->f);
}

static pthread_t start(struct run *r)
{
    pthread_t thread;
    fake_start(&r->f);
    fake_answer(&r->f);
    path = r->f.path;
    if (pthread_create(&thread, NULL, read_on, r) != 0) {
        abort();
    }
    fake_join(&r->f);
    return thread;
}

static void it_releases_what_it_read_before_it_sleeps(void)
{
    static struct run r;
    pthread_t thread = start(&r);
    publish(&r, 3);
    CHECK(within_a_while(r.f.w.cursor + AQD_CURSOR_CURSOR, 6));
    publish(&r, 1);
    CHECK(within_a_while(r.f.w.cursor + AQD_CURSOR_CURSOR, 8));
    writer_close(&r.f.w);
    fake_wake(&r.f);
    pthread_join(thread, NULL);
    CHECK_EQ(r.status, 0);
    fake_free(&r.f);
}

/* A producer that waits for space is not kept until the reader has seen an empty ring. */
static void it_releases_every_64_records_while_more_come(void)
{
    static struct run r;
    fed = &r.f;
    food = 500;
    kept = most_kept = 0;
    pthread_t thread = start(&r);
    CHECK(within_a_while(r.f.w.cursor + AQD_CURSOR_CURSOR, 1000));
    writer_close(&r.f.w);
    fake_wake(&r.f);
    pthread_join(thread, NULL);
    fed = NULL;
    CHECK_EQ(r.status, 0);
    CHECK_EQ(food, 0);
    CHECK_EQ(most_kept, 64);
    fake_free(&r.f);
}

static void it_reads_past_damage(void)
{
    static struct run r;
    pthread_t thread = start(&r);
    uint32_t at = writer_data(&r.f.w, 0, "spoiled", 7);
    r.f.w.ring[FAKE_OFFSET + (at % FAKE_CAPACITY) * 32 + 32] ^= 1;
    publish(&r, 2);
    CHECK(within_a_while(r.f.w.cursor + AQD_CURSOR_CURSOR, 6));
    CHECK_EQ(word(r.f.w.cursor + AQD_CURSOR_CORRUPT), 1);
    writer_close(&r.f.w);
    fake_wake(&r.f);
    pthread_join(thread, NULL);
    CHECK_EQ(r.status, 0);
    fake_free(&r.f);
}

/* Evicted: the producer goes on without it, and the connection ends. */
static void it_ends_on_an_eviction(void)
{
    static struct run r;
    pthread_t thread = start(&r);
    publish(&r, 1);
    CHECK(within_a_while(r.f.w.cursor + AQD_CURSOR_CURSOR, 2));
    aqd_put32(r.f.w.ring + AQD_RING_TAIL, 2 + 2 * FAKE_CAPACITY);
    fake_hang_up(&r.f);
    pthread_join(thread, NULL);
    CHECK_EQ(r.status, 1);
    fake_free(&r.f);
}

static void it_ends_when_the_listener_dies(void)
{
    static struct run r;
    pthread_t thread = start(&r);
    publish(&r, 1);
    fake_hang_up(&r.f);
    pthread_join(thread, NULL);
    CHECK_EQ(r.status, 1);
    CHECK_EQ(word(r.f.w.cursor + AQD_CURSOR_CURSOR), 2);
    fake_free(&r.f);
}

static void it_says_why_it_cannot_open(void)
{
    path = "/tmp/aqueduct-test-nowhere";
    CHECK_EQ(reader_main(), 1);
}

int main(void)
{
    RUN(it_releases_what_it_read_before_it_sleeps);
    RUN(it_releases_every_64_records_while_more_come);
    RUN(it_reads_past_damage);
    RUN(it_ends_on_an_eviction);
    RUN(it_ends_when_the_listener_dies);
    RUN(it_says_why_it_cannot_open);
    return finish_tests();
}
