/* A writer thread that keeps changing what a reader thread is looking at. What the reader hands out
 * is what it checked: the bytes it returns have the CRC of the header that it accepted. Bounded
 * rounds and time, so that it ends whatever happens; most worth under `make sanitize`. */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "fixture.h"

#define CAPACITY 16u
#ifndef ROUNDS
#define ROUNDS 20000 /* more: make check CPPFLAGS=-DROUNDS=1000000 */
#endif
#define PATIENCE_S 60

struct hostile {
    struct fixture *f;
    uint32_t stop;
    bool stamped; /* every record that it writes says its own CRC in the timestamp: see below */
};

static void store(const struct fixture *f, size_t at, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(f->ring + at), aqd_le32(value), __ATOMIC_RELAXED);
}

static uint32_t cursor_now(const struct fixture *f)
{
    return aqd_le32(__atomic_load_n((uint32_t *)(void *)(f->cursor + AQD_CURSOR_CURSOR), __ATOMIC_RELAXED));
}

/* Puts a record with right CRCs where the reader stands. Its timestamp is its len and its payload
 * CRC, which the API does not hand out: a header is handed out only if its own CRC is right, so the
 * pair is that of one header that the writer once wrote. */
static uint32_t put_record(const struct fixture *f, uint64_t r)
{
    static _Alignas(8) unsigned char local[OFFSET + CAPACITY * 32];
    uint32_t position = cursor_now(f);
    struct writer w = {.ring = local, .epoch = EPOCH, .seq = r >> 61, .capacity = CAPACITY, .data_offset = OFFSET, .tail = position};
    unsigned char payload[96];
    memset(payload, (int)(r >> 8 & 255), sizeof payload);
    uint32_t room = (CAPACITY - 1 - (position & (CAPACITY - 1))) * 32, len = (uint32_t)(r >> 16 & 127) % (room + 1);
    len = len > sizeof payload ? (uint32_t)sizeof payload : len;
    writer_raw(&w, AQD_KIND_DATA, 0, w.seq, (uint64_t)len << 32 | oracle_crc32(payload, len), payload, len);
    for (uint32_t p = position; p != w.tail; p++) {
        for (size_t i = 0; i < 32; i += 4) {
            size_t at = (size_t)(writer_at(&w, p) - local) + i;
            store(f, at, aqd_get32(local + at));
        }
    }
    return w.tail;
}

static void *write_for_ever(void *argument)
{
    struct hostile *h = argument;
    const struct fixture *f = h->f;
    uint64_t random = 4711;
    unsigned turn = 0;
    while (!__atomic_load_n(&h->stop, __ATOMIC_RELAXED)) {
        uint64_t r = next_random(&random);
        uint32_t tail = cursor_now(f) + (uint32_t)(r % CAPACITY);
        if (h->stamped) {
            tail = put_record(f, r);
        }
        store(f, AQD_RING_TAIL, r % 64 == 1 ? (uint32_t)(r >> 32) : tail);
        store(f, AQD_RING_STATE, r % 64 == 2);
        store(f, AQD_RING_SPACE_WANTED, (uint32_t)r);
        for (uint64_t i = r >> 40 & 7; i > 0; i--) {
            uint64_t flip = next_random(&random);
            /* The length of the record that is being read, or any word. */
            uint32_t granule = flip % 4 == 0 ? cursor_now(f) & (CAPACITY - 1) : (uint32_t)(flip >> 8) % CAPACITY;
            uint32_t word = flip % 4 == 0 ? 0 : (uint32_t)(flip >> 16) % 8;
            store(f, OFFSET + granule * 32 + word * 4, (uint32_t)(flip >> 32) >> (flip >> 24) % 32);
        }
        if (++turn % 64 == 0) {
            sched_yield(); /* both may be on one processor */
        }
    }
    return NULL;
}

struct met {
    unsigned ok, header, payload, out_of_range;
};

/* Whether a run showed what it can show beside a writer that knows the checksum, or does not. */
static bool met_all(const struct met *met, bool stamped)
{
    return met->header > 0 && (!stamped || (met->ok > 100 && met->payload > 0 && met->out_of_range > 0));
}

/* Reads beside the writer: ROUNDS times, and longer where the two seldom run at once, until every
 * outcome was met or PATIENCE_S is over. The buffer is of exactly the allowed size, so
 * AddressSanitizer sees the first byte too many. */
static struct met read_beside(bool stamped)
{
    struct fixture f;
    fixture_make(&f, CAPACITY, UINT32_MAX - 3);
    struct hostile h = {.f = &f, .stamped = stamped};
    struct met met = {0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, write_for_ever, &h) != 0) {
        abort();
    }
    uint64_t random = 8;
    time_t until = time(NULL) + PATIENCE_S;
    for (int round = 0; round < ROUNDS || (!met_all(&met, stamped) && time(NULL) <= until); round++) {
        size_t cap = (size_t)(next_random(&random) % (f.r.view.max_payload + 1));
        unsigned char *buf = malloc(cap + (cap == 0));
        if (!buf) {
            abort();
        }
        aqd_record rec = {0};
        uint64_t before = f.r.position;
        aqd_status status = aqd_reader_next(&f.r, buf, cap, &rec);
        CHECK(f.r.position - before <= 3 * (uint64_t)CAPACITY);
        CHECK(f.r.tail - f.r.position <= CAPACITY);
        if (status == AQD_OK) {
            CHECK(rec.len <= cap);
            CHECK_EQ(rec.timestamp_ns >> 32, rec.len);
            CHECK_EQ(rec.timestamp_ns & UINT32_MAX, oracle_crc32(buf, rec.len));
        }
        met.ok += status == AQD_OK;
        met.header += status == AQD_ERR_HEADER;
        met.payload += status == AQD_ERR_PAYLOAD;
        met.out_of_range += status == AQD_ERR_TAIL;
        free(buf);
        aqd_reader_release(&f.r);
        if (aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, NULL)) {
            aqd_reader_finish_sleep(&f.r, next_random(&random) % 2);
        }
        if (status == AQD_EMPTY || status == AQD_CLOSED || status == AQD_ERR_TAIL) {
            sched_yield(); /* both may be on one processor */
        }
    }
    __atomic_store_n(&h.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("# met: %u ok, %u header, %u payload, %u out of range\n", met.ok, met.header, met.payload, met.out_of_range);
    fixture_free(&f);
    return met;
}

static void what_was_checked_is_what_is_returned_while_a_writer_changes_it(void)
{
    struct met met = read_beside(true);
    /* Not vacuous. */
    CHECK(met_all(&met, true));
}

static void nothing_is_returned_of_a_writer_that_knows_no_checksum(void)
{
    struct met met = read_beside(false);
    CHECK_EQ(met.ok, 0);
    CHECK(met_all(&met, false));
}

int main(void)
{
    RUN(what_was_checked_is_what_is_returned_while_a_writer_changes_it);
    RUN(nothing_is_returned_of_a_writer_that_knows_no_checksum);
    return finish_tests();
}
