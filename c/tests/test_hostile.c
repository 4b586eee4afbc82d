/* The reader on memory that changes while it is read and may say anything: always inside the
 * segments, always an end. Most worth under `make sanitize`, where a byte outside the ring is
 * fatal. */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <sched.h>

#include "aqueduct/attributes.h"
#include "fixture.h"

/* One call of either kind; whatever is handed out must be what was promised. */
static aqd_status one_call(struct fixture *f, uint64_t *random, bool quiet_memory)
{
    unsigned char buf[600];
    const void *payload = buf;
    aqd_record rec = {0};
    uint64_t before = f->r.position;
    bool in_place = quiet_memory && next_random(random) % 4 == 0;
    size_t cap = (size_t)(next_random(random) % 600);
    aqd_status status = in_place ? aqd_reader_view(&f->r, &payload, &rec) : aqd_reader_next(&f->r, buf, cap, &rec);
    if (status == AQD_OK) {
        size_t bytes = aqd_record_bytes(&rec);
        CHECK(in_place || bytes <= cap);
        CHECK(bytes <= f->r.view.max_payload);
        if (quiet_memory) {
            CHECK_EQ(oracle_crc32(payload, bytes), aqd_get32(writer_at(&f->w, (uint32_t)(f->r.position - 1 - (bytes + 31) / 32)) + 24));
        }
        aqd_named_value one;
        for (uint32_t at = 0; aqd_next_attribute(&rec, payload, &at, &one);) {
            CHECK((const unsigned char *)one.value + one.value_bytes <= (const unsigned char *)payload + bytes);
        }
    }
    CHECK(f->r.position >= before);
    CHECK(f->r.position - before <= 3 * (uint64_t)f->r.view.capacity);
    CHECK(f->r.tail - f->r.position <= f->r.view.capacity);
    return status;
}

static void random_bytes_never_mislead_the_reader(void)
{
    uint64_t random = 2024;
    for (int round = 0; round < 3000; round++) {
        struct fixture f;
        uint32_t capacity = UINT32_C(4) << next_random(&random) % 5, start = (uint32_t)next_random(&random);
        fixture_make(&f, capacity, start);
        for (size_t i = OFFSET; i < f.ring_bytes; i += 8) {
            aqd_put64(f.ring + i, next_random(&random));
        }
        /* Headers that are right as far as the CRC goes, so that the rest is reached. */
        uint32_t sealed = (uint32_t)(next_random(&random) % (capacity + 1));
        for (uint32_t i = 0; i < sealed; i++) {
            uint32_t position = start + (uint32_t)(next_random(&random) % capacity);
            unsigned char *at = writer_at(&f.w, position);
            uint32_t len = (uint32_t)(next_random(&random) >> (32 + next_random(&random) % 32));
            aqd_put32(at, len);
            uint64_t kind = next_random(&random) % 6;
            at[4] = (unsigned char)(kind == 5 ? AQD_KIND_DATA_ATTRIBUTES : kind);
            aqd_put64(at + 8, next_random(&random) % 8);
            if (len <= 32 * (capacity - 1 - (position & (capacity - 1))) && next_random(&random) % 2) {
                aqd_put32(at + 24, oracle_crc32(at + 32, len));
            }
            writer_seal_record(&f.w, position);
        }
        f.w.tail = start + (uint32_t)(next_random(&random) % (capacity + 2));
        writer_publish(&f.w);
        aqd_put32(f.ring + AQD_RING_STATE, (uint32_t)(next_random(&random) % 3));
        aqd_put32(f.ring + AQD_RING_SPACE_WANTED, (uint32_t)next_random(&random));
        aqd_status status = AQD_OK;
        uint32_t calls = 0, short_buffers = 0;
        while (status != AQD_EMPTY && status != AQD_CLOSED && status != AQD_ERR_TAIL && short_buffers < 100) {
            status = one_call(&f, &random, true);
            short_buffers += status == AQD_ERR_SPACE;
            calls++;
        }
        CHECK(calls <= 2 * capacity + short_buffers + 1);
        aqd_reader_release(&f.r);
        aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, NULL);
        aqd_reader_finish_sleep(&f.r, true);
        fixture_free(&f);
    }
}

struct scribbler {
    struct fixture *f;
    uint32_t stop;
};

static void store(const struct fixture *f, size_t at, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(f->ring + at), aqd_le32(value), __ATOMIC_RELAXED);
}

/* Whole records with right CRCs just where the reader stands, spoilt at once or while it reads
 * them, and now and then a wild tail or state. */
static void *scribble(void *argument)
{
    struct scribbler *s = argument;
    const struct fixture *f = s->f;
    uint64_t random = 99;
    unsigned turn = 0;
    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        uint64_t r = next_random(&random);
        uint32_t position = aqd_le32(__atomic_load_n((uint32_t *)(void *)(f->cursor + AQD_CURSOR_CURSOR), __ATOMIC_RELAXED));
        /* Built in private bytes of the same geometry, then stored by words. */
        static _Alignas(8) unsigned char local[OFFSET + 16 * 32];
        struct writer w = {.ring = local, .epoch = EPOCH, .seq = r >> 61, .capacity = 16, .data_offset = OFFSET, .tail = position};
        unsigned char payload[64];
        memset(payload, (int)(r >> 8 & 255), sizeof payload);
        uint32_t room = (15 - (position & 15)) * 32;
        uint32_t len = (uint32_t)(r >> 16 & 63) % (room + 1);
        if (r % 16 < 4) {
            writer_attributed(&w, 0, payload, len, (uint8_t)(r >> 56 & 7));
        } else {
            writer_raw(&w, (uint8_t)(r % 16 == 4 ? AQD_KIND_DISCARD : AQD_KIND_DATA), 0, w.seq, 0, payload, len);
        }
        for (uint32_t p = position; p != w.tail; p++) {
            for (size_t i = 0; i < 32; i += 4) {
                size_t at = (size_t)(writer_at(&w, p) - local) + i;
                store(f, at, aqd_get32(local + at));
            }
        }
        store(f, AQD_RING_TAIL, r % 32 == 1 ? (uint32_t)(r >> 32) : w.tail + (uint32_t)(r >> 24 & 3));
        store(f, AQD_RING_STATE, r % 32 == 2);
        for (uint64_t i = r >> 28 & 7; i > 0; i--) {
            store(f, OFFSET + (size_t)(next_random(&random) % (16 * 8)) * 4, (uint32_t)next_random(&random));
        }
        if (++turn % 64 == 0) {
            sched_yield(); /* both may be on one processor */
        }
    }
    return NULL;
}

static void bytes_that_change_while_they_are_read_never_mislead_the_reader(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    struct scribbler s = {.f = &f};
    pthread_t thread;
    if (pthread_create(&thread, NULL, scribble, &s) != 0) {
        abort();
    }
    uint64_t random = 5;
    unsigned seen[64] = {0};
    /* Not vacuous: until it has met enough of everything. */
    bool enough = false;
    for (int i = 0; i < 20000000 && !enough; i++) {
        aqd_status status = one_call(&f, &random, false);
        seen[status]++;
        aqd_reader_release(&f.r);
        if (status == AQD_EMPTY || status == AQD_CLOSED || status == AQD_ERR_TAIL) {
            sched_yield(); /* both may be on one processor */
        }
        enough = seen[AQD_OK] >= 100 && seen[AQD_ERR_HEADER] >= 100 && seen[AQD_ERR_PAYLOAD] >= 100 && seen[AQD_ERR_TAIL] >= 100;
    }
    __atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("# met: %u ok, %u empty, %u header, %u payload, %u out of range\n", seen[AQD_OK], seen[AQD_EMPTY], seen[AQD_ERR_HEADER],
           seen[AQD_ERR_PAYLOAD], seen[AQD_ERR_TAIL]);
    CHECK(enough);
    fixture_free(&f);
}

/* Publishes one record and closes, as soon as it is told to. */
static void *publish_and_close(void *argument)
{
    struct scribbler *s = argument;
    while (__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE) == 0) {
        sched_yield();
    }
    writer_data(&s->f->w, 0, "last", 4);
    writer_publish(&s->f->w);
    writer_close(&s->f->w);
    return NULL;
}

static void a_close_that_races_a_read_never_hides_the_last_record(void)
{
    for (int round = 0; round < 1000; round++) {
        struct fixture f;
        fixture_make(&f, 16, 0);
        struct scribbler s = {.f = &f};
        pthread_t thread;
        if (pthread_create(&thread, NULL, publish_and_close, &s) != 0) {
            abort();
        }
        unsigned char buf[8];
        aqd_record rec;
        unsigned records = 0, calls = 0;
        aqd_status status = aqd_reader_next(&f.r, buf, sizeof buf, &rec);
        CHECK_EQ(status, AQD_EMPTY);
        __atomic_store_n(&s.stop, 1, __ATOMIC_RELEASE);
        while ((status = aqd_reader_next(&f.r, buf, sizeof buf, &rec)) != AQD_CLOSED) {
            records += status == AQD_OK;
            if (++calls % 256 == 0) {
                sched_yield(); /* both may be on one processor */
            }
        }
        CHECK_EQ(records, 1);
        pthread_join(thread, NULL);
        fixture_free(&f);
    }
}

int main(void)
{
    RUN(a_close_that_races_a_read_never_hides_the_last_record);
    RUN(random_bytes_never_mislead_the_reader);
    RUN(bytes_that_change_while_they_are_read_never_mislead_the_reader);
    return finish_tests();
}
