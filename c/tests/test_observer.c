/* The observer: what it reads, what it says when it is overrun, and memory that changes under it or
 * says anything. */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "aqueduct/observer.h"
#include "fixture.h"

static void set(const struct fixture *f, size_t at, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(f->ring + at), aqd_le32(value), __ATOMIC_RELEASE);
}

static void publish(struct fixture *f, const char *text)
{
    writer_data(&f->w, 0, text, (uint32_t)strlen(text));
    writer_publish(&f->w);
}

static void expect(aqd_observer *o, uint64_t seq, const char *text)
{
    char buf[600];
    aqd_record rec = {0};
    CHECK_EQ(aqd_observer_next(o, buf, sizeof buf, &rec), AQD_OK);
    CHECK_EQ(rec.seq, seq);
    CHECK(rec.len == strlen(text) && memcmp(buf, text, rec.len) == 0);
}

static aqd_status next(aqd_observer *o)
{
    char buf[600];
    aqd_record rec = {0};
    return aqd_observer_next(o, buf, sizeof buf, &rec);
}

static void an_observer_reads_the_ring_alone_from_its_oldest_record(void)
{
    struct fixture f;
    fixture_make(&f, 16, UINT32_MAX - 3);
    publish(&f, "one");
    publish(&f, "two");
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    CHECK_EQ(aqd_observer_get_info(&o)->epoch, EPOCH);
    CHECK(aqd_observer_ready(&o));
    expect(&o, 0, "one");
    aqd_record rec;
    CHECK_EQ(aqd_observer_peek(&o, &rec), AQD_OK);
    CHECK_EQ(rec.seq, 1);
    CHECK_EQ(aqd_observer_skip(&o, &rec), AQD_OK);
    CHECK_EQ(next(&o), AQD_EMPTY);
    CHECK(!aqd_observer_ready(&o));
    publish(&f, "");
    publish(&f, "four");
    aqd_item items[4];
    unsigned char buf[64];
    size_t n;
    CHECK_EQ(aqd_observer_next_batch(&o, buf, sizeof buf, items, 4, &n), AQD_OK);
    CHECK(n == 2 && items[0].record.seq == 2 && memcmp(items[1].payload, "four", 4) == 0);
    writer_close(&f.w);
    CHECK(aqd_observer_ready(&o));
    CHECK_EQ(next(&o), AQD_CLOSED);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), UINT32_MAX - 3); /* nothing is written anywhere */
    fixture_free(&f);
}

static void what_is_not_a_ring_is_refused(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(NULL, f.ring, f.ring_bytes), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_observer_init(&o, NULL, f.ring_bytes), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_observer_init(&o, f.ring + 8, f.ring_bytes), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_observer_init(&o, f.ring, 127), AQD_ERR_SIZE);
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes - 1), AQD_ERR_SIZE);
    for (size_t bit = 0; bit < 128 * 8; bit++) {
        f.ring[bit / 8] ^= (unsigned char)(1 << bit % 8);
        CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), bit < 64 ? AQD_ERR_MAGIC : bit < 80 ? AQD_ERR_VERSION : AQD_ERR_CHECKSUM);
        f.ring[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    fixture_free(&f);
}

static void a_short_buffer_consumes_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    publish(&f, "hello");
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    char buf[4];
    aqd_record rec;
    CHECK_EQ(aqd_observer_next(&o, buf, sizeof buf, &rec), AQD_ERR_SPACE);
    CHECK_EQ(rec.len, 5);
    char enough[5];
    CHECK_EQ(aqd_observer_next(&o, enough, sizeof enough, &rec), AQD_OK);
    CHECK(rec.len == 5 && memcmp(enough, "hello", 5) == 0);
    fixture_free(&f);
}

/* What a skip did not return is read next. */
static void a_skip_that_returns_no_record_consumes_none(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    aqd_observer o;
    aqd_record rec;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    CHECK_EQ(aqd_observer_skip(&o, &rec), AQD_EMPTY);
    CHECK(!aqd_observer_ready(&o));
    publish(&f, "zero");
    CHECK(aqd_observer_ready(&o)); /* a tail that it has not adopted */
    expect(&o, 0, "zero");
    f.w.seq = 5;
    publish(&f, "five");
    CHECK_EQ(aqd_observer_skip(&o, &rec), AQD_ERR_GAP);
    CHECK_EQ(rec.seq, 5);
    expect(&o, 5, "five");
    fixture_free(&f);
}

/* Whatever was in its memory before. */
static void a_new_observer_knows_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    f.w.seq = 9;
    uint32_t first = f.w.tail;
    publish(&f, "nine");
    publish(&f, "ten");
    writer_at(&f.w, first)[3] ^= 1;
    aqd_observer o;
    memset(&o, 255, sizeof o);
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    const aqd_evidence *e = aqd_observer_get_evidence(&o);
    CHECK(e->position == 0 && e->resumed == 0 && e->expected_seq == 0 && e->found_seq == 0 && e->tail == 0);
    CHECK(aqd_observer_get_stats(&o)->lost == 0 && aqd_observer_get_stats(&o)->corrupt == 0);
    CHECK_EQ(next(&o), AQD_ERR_HEADER);
    CHECK_EQ(e->expected_seq, 0);
    f.w.seq = 20; /* a gap, and no overrun */
    writer_at(&f.w, f.w.tail - 2)[3] ^= 1;
    publish(&f, "twenty");
    CHECK_EQ(next(&o), AQD_ERR_HEADER);
    CHECK_EQ(next(&o), AQD_ERR_GAP);
    expect(&o, 20, "twenty");
    fixture_free(&f);
}

static void a_batch_of_an_observer_is_packed_and_bounded(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    for (int i = 0; i < 4; i++) {
        publish(&f, "twelve bytes");
    }
    aqd_observer o;
    aqd_item *items = calloc(2, sizeof *items); /* exact: sanitizers see what is beyond */
    unsigned char *buf = malloc(16 + 12);
    if (!items || !buf) {
        abort();
    }
    size_t n;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    CHECK_EQ(aqd_observer_next_batch(&o, buf, 16 + 12, items, 2, &n), AQD_OK);
    CHECK(n == 2 && items[0].payload == buf && items[1].payload == buf + 16 && items[1].record.seq == 1);
    CHECK(memcmp(buf, "twelve bytes", 12) == 0 && memcmp(buf + 16, "twelve bytes", 12) == 0);
    CHECK_EQ(aqd_observer_next_batch(&o, buf, 16 + 11, items, 2, &n), AQD_OK); /* the second has no room */
    CHECK(n == 1 && items[0].record.seq == 2);
    expect(&o, 3, "twelve bytes");
    free(items);
    free(buf);
    fixture_free(&f);
}

static void an_observer_that_was_overrun_says_how_much_it_missed(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    publish(&f, "zero");
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    expect(&o, 0, "zero");
    for (int i = 1; i <= 10; i++) { /* 20 granules in 16; records 3 to 10 are whole */
        set(&f, AQD_RING_OLDEST, i <= 7 ? 0 : 2 * (uint32_t)(i - 4));
        publish(&f, "again");
    }
    CHECK_EQ(f.w.tail, 22);
    set(&f, AQD_RING_OLDEST, 6);
    aqd_lag lag;
    CHECK_EQ(aqd_observer_measure_lag(&o, 0, &lag), AQD_OK);
    CHECK(lag.records == 10 && lag.bytes == 16 * 32);
    char buf[64];
    aqd_record rec;
    CHECK_EQ(aqd_observer_next(&o, buf, sizeof buf, &rec), AQD_ERR_OVERRUN);
    CHECK_EQ(rec.seq, 3);
    CHECK_EQ(aqd_observer_get_evidence(&o)->expected_seq, 1);
    CHECK_EQ(aqd_observer_get_evidence(&o)->found_seq, 3);
    CHECK_EQ(aqd_observer_get_stats(&o)->lost, 2);
    for (uint64_t seq = 3; seq <= 10; seq++) {
        expect(&o, seq, "again");
    }
    CHECK_EQ(next(&o), AQD_EMPTY);
    fixture_free(&f);
}

/* Overrun, with nothing left to tell by how much, it stands at the latest already. */
static void going_to_the_latest_from_there_leaves_the_loss_to_be_told(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    publish(&f, "zero");
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    expect(&o, 0, "zero");
    f.w.tail = 40;
    f.w.seq = 9;
    set(&f, AQD_RING_OLDEST, f.w.tail);
    writer_publish(&f.w);
    CHECK_EQ(next(&o), AQD_EMPTY);
    CHECK_EQ(aqd_observer_skip_to_latest(&o), AQD_OK);
    publish(&f, "nine");
    CHECK_EQ(next(&o), AQD_ERR_OVERRUN);
    CHECK(aqd_observer_get_evidence(&o)->expected_seq == 1 && aqd_observer_get_evidence(&o)->found_seq == 9);
    CHECK_EQ(aqd_observer_get_stats(&o)->lost, 8);
    expect(&o, 9, "nine");
    fixture_free(&f);
}

static void an_observer_seeks_back_and_forth(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    f.w.seq = 5;
    for (int i = 0; i < 5; i++) {
        publish(&f, "x");
    }
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 8), AQD_OK);
    expect(&o, 8, "x");
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 6), AQD_OK);
    expect(&o, 6, "x");
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 2), AQD_ERR_GONE);
    CHECK_EQ(aqd_observer_get_evidence(&o)->found_seq, 5);
    expect(&o, 5, "x");
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 10), AQD_OK);
    CHECK_EQ(next(&o), AQD_EMPTY);
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 11), AQD_AHEAD);
    CHECK_EQ(aqd_observer_seek(&o, EPOCH ^ 1, 6), AQD_ERR_EPOCH);
    publish(&f, "y");
    expect(&o, 10, "y");
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 5), AQD_OK);
    CHECK_EQ(aqd_observer_skip_to_latest(&o), AQD_OK);
    publish(&f, "z");
    expect(&o, 11, "z");
    fixture_free(&f);
}

/* An observer at the tail that has read nothing knows no number but the producer's next one. */
static void at_the_tail_of_an_observer_a_wrong_number_shows_as_a_gap(void)
{
    for (uint64_t seq = 7; seq <= 12; seq++) {
        struct fixture f;
        fixture_make(&f, 16, 0);
        publish(&f, "zero");
        aqd_observer o;
        CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
        expect(&o, 0, "zero");
        if (seq % 2 == 0) {
            /* Overrun, and not told yet by how much, when it seeks. */
            f.w.tail = 40;
            set(&f, AQD_RING_OLDEST, f.w.tail);
            f.w.seq = 9;
            writer_publish(&f.w);
            CHECK_EQ(next(&o), AQD_EMPTY);
        } else {
            set(&f, AQD_RING_OLDEST, f.w.tail);
            f.w.seq = 9;
            writer_publish(&f.w);
        }
        uint64_t wanted = seq == 12 ? 9 + UINT32_MAX / 2 : seq;
        CHECK_EQ(aqd_observer_seek(&o, EPOCH, wanted), seq <= 9 ? AQD_OK : AQD_AHEAD);
        publish(&f, "nine");
        if (seq < 9) {
            CHECK_EQ(next(&o), AQD_ERR_GAP);
            CHECK_EQ(aqd_observer_get_evidence(&o)->expected_seq, seq);
            CHECK_EQ(aqd_observer_get_stats(&o)->lost, 9 - seq);
        }
        expect(&o, 9, "nine");
        CHECK_EQ(aqd_observer_get_stats(&o)->lost, seq < 9 ? 9 - seq : 0);
        fixture_free(&f);
    }
}

/* What it does not seek is not lost, and at the latest there is nothing to read. */
static void moving_about_loses_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    publish(&f, "zero");
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    expect(&o, 0, "zero");
    for (int i = 1; i <= 10; i++) {
        set(&f, AQD_RING_OLDEST, i <= 7 ? 0 : 2 * (uint32_t)(i - 4));
        publish(&f, "again");
    }
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 8), AQD_OK);
    expect(&o, 8, "again");
    CHECK_EQ(aqd_observer_skip_to_latest(&o), AQD_OK);
    CHECK_EQ(next(&o), AQD_EMPTY);
    set(&f, AQD_RING_OLDEST, 16);
    publish(&f, "eleven");
    publish(&f, "twelve");
    CHECK_EQ(aqd_observer_skip_to_latest(&o), AQD_OK);
    CHECK_EQ(next(&o), AQD_EMPTY);
    CHECK_EQ(aqd_observer_get_stats(&o)->lost, 0);
    fixture_free(&f);
}

static void damage_is_told_and_passed(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    publish(&f, "zero");
    uint32_t second = f.w.tail;
    publish(&f, "one");
    uint32_t third = f.w.tail;
    publish(&f, "two");
    publish(&f, "three");
    writer_at(&f.w, second)[32] ^= 1;
    writer_at(&f.w, third)[3] ^= 1;
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    expect(&o, 0, "zero");
    CHECK_EQ(next(&o), AQD_ERR_PAYLOAD);
    CHECK_EQ(aqd_observer_get_evidence(&o)->found_seq, 1);
    CHECK(aqd_observer_get_evidence(&o)->position == second && aqd_observer_get_evidence(&o)->resumed == third);
    CHECK_EQ(next(&o), AQD_ERR_HEADER);
    expect(&o, 3, "three");
    CHECK(aqd_observer_get_stats(&o)->lost == 2 && aqd_observer_get_stats(&o)->corrupt == 2);
    fixture_free(&f);
}

static void control_words_that_make_no_sense_are_a_tail_out_of_range(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    publish(&f, "x");
    aqd_observer o;
    set(&f, AQD_RING_TAIL, 1000);
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_ERR_TAIL);
    CHECK_EQ(next(&o), AQD_ERR_TAIL);
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 0), AQD_ERR_TAIL);
    set(&f, AQD_RING_TAIL, f.w.tail);
    expect(&o, 0, "x"); /* put right: it goes on */
    fixture_free(&f);
}

struct scribbler {
    struct fixture *f;
    uint32_t stop;
};

/* An honest producer that overwrites: `oldest`, a fence, the bytes by words, `tail`. One granule
 * and a payload that repeats its number. */
static void *overwrite(void *argument)
{
    struct scribbler *s = argument;
    struct fixture *f = s->f;
    static _Alignas(8) unsigned char local[OFFSET + 64 * 32];
    struct writer w = f->w;
    w.ring = local;
    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        unsigned char payload[32];
        for (size_t i = 0; i < 4; i++) {
            aqd_put64(payload + 8 * i, w.seq);
        }
        uint32_t at = w.tail;
        writer_data(&w, 0, payload, sizeof payload);
        set(f, AQD_RING_OLDEST, w.tail < 64 ? 0 : w.tail - 64 + (w.tail & 1)); /* records take two granules, and there is no padding */
        __atomic_thread_fence(__ATOMIC_RELEASE);
        for (size_t i = 0; i < 64; i += 4) {
            size_t to = OFFSET + (size_t)(at % 64) * 32 + i;
            uint32_t word;
            memcpy(&word, local + to, 4);
            __atomic_store_n((uint32_t *)(void *)(f->ring + to), word, __ATOMIC_RELAXED);
        }
        __atomic_store_n((uint32_t *)(void *)(f->ring + AQD_RING_NEXT_SEQ), aqd_le32((uint32_t)w.seq), __ATOMIC_RELAXED);
        set(f, AQD_RING_TAIL, w.tail);
        if (w.seq % 64 == 0) {
            sched_yield(); /* both may be on one processor */
        }
    }
    return NULL;
}

static void a_record_of_a_producer_that_overruns_is_whole_or_is_not_delivered(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    struct scribbler s = {.f = &f};
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    pthread_t thread;
    if (pthread_create(&thread, NULL, overwrite, &s) != 0) {
        abort();
    }
    uint64_t expected = 0, read = 0, missed = 0, other = 0;
    /* Not vacuous: until it has read and been overrun often enough. */
    for (int i = 0; i < 20000000 && (read < 2000 || missed < 20); i++) {
        unsigned char buf[64];
        aqd_record rec;
        aqd_status status = aqd_observer_next(&o, buf, sizeof buf, &rec);
        if (status == AQD_OK) {
            CHECK(rec.seq == expected || read == 0); /* before its first record it has missed nothing: it starts later */
            CHECK(rec.len == 32 && aqd_get64(buf) == rec.seq && aqd_get64(buf + 24) == rec.seq);
            expected = rec.seq + 1;
            read++;
            if (read % 64 == 0) {
                nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL); /* lets it be overrun */
            }
        } else if (status == AQD_ERR_OVERRUN) {
            const aqd_evidence *e = aqd_observer_get_evidence(&o);
            CHECK(e->found_seq >= expected);
            expected = e->found_seq;
            missed++;
        } else if (status == AQD_EMPTY) {
            sched_yield();
        } else {
            other++;
        }
    }
    __atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("# read %llu, overrun %llu times\n", (unsigned long long)read, (unsigned long long)missed);
    CHECK(read >= 2000 && missed >= 20);
    CHECK_EQ(other, 0);
    CHECK_EQ(aqd_observer_get_stats(&o)->corrupt, 0);
    fixture_free(&f);
}

/* Anything anywhere, the control words above all, while it is read. */
static void *scribble(void *argument)
{
    struct scribbler *s = argument;
    const struct fixture *f = s->f;
    uint64_t random = 4711;
    unsigned turn = 0;
    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        static _Alignas(8) unsigned char local[OFFSET + 16 * 32 + 64];
        static const unsigned char payload[64];
        uint64_t r = next_random(&random);
        struct writer w = {.ring = local, .epoch = EPOCH, .seq = r >> 60, .capacity = 16, .data_offset = OFFSET, .tail = (uint32_t)(r & 31)};
        uint32_t at = w.tail;
        writer_raw(&w, (uint8_t)(r >> 8 & 3), 0, w.seq, 0, payload, (uint32_t)(r >> 16 & 63));
        for (size_t i = 0; i < 32; i += 4) {
            size_t to = OFFSET + (size_t)(at % 16) * 32 + i;
            set(f, to, aqd_get32(local + to));
        }
        set(f, AQD_RING_TAIL, r % 16 == 1 ? (uint32_t)(r >> 32) : at + (uint32_t)(r >> 24 & 15));
        set(f, AQD_RING_OLDEST, r % 16 == 2 ? (uint32_t)(r >> 32) : at - (uint32_t)(r >> 28 & 3));
        set(f, AQD_RING_STATE, r % 64 == 3);
        set(f, OFFSET + (size_t)(r >> 40 & 127) * 4, (uint32_t)next_random(&random));
        if (++turn % 64 == 0) {
            sched_yield(); /* both may be on one processor */
        }
    }
    return NULL;
}

static void whatever_happens_in_the_ring_every_call_ends_inside_it(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    struct scribbler s = {.f = &f};
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    pthread_t thread;
    if (pthread_create(&thread, NULL, scribble, &s) != 0) {
        abort();
    }
    uint64_t random = 8;
    unsigned seen[64] = {0};
    bool enough = false;
    for (int i = 0; i < 20000000 && !enough; i++) {
        unsigned char buf[100];
        aqd_record rec;
        aqd_item items[3];
        size_t n = 0;
        aqd_status status;
        switch (next_random(&random) % 8) {
        case 0: status = aqd_observer_peek(&o, &rec); break;
        case 1: status = aqd_observer_skip(&o, &rec); break;
        case 2: status = aqd_observer_seek(&o, EPOCH, next_random(&random) % 20); break;
        case 3: status = aqd_observer_next_batch(&o, buf, 90, items, 3, &n); break;
        case 4: status = aqd_observer_init(&o, f.ring, f.ring_bytes); break;
        case 5: {
            aqd_lag lag;
            status = aqd_observer_measure_lag(&o, 1, &lag);
            CHECK(lag.bytes <= 16 * 32);
            break;
        }
        default: status = aqd_observer_next(&o, buf, (size_t)(next_random(&random) % 100), &rec); break;
        }
        CHECK(n <= 3);
        CHECK(o.tail - o.position <= 16);
        seen[status]++;
        if (i % 64 == 0) {
            sched_yield();
        }
        enough = seen[AQD_OK] >= 1000 && seen[AQD_ERR_HEADER] >= 300 && seen[AQD_ERR_OVERRUN] >= 30 && seen[AQD_ERR_TAIL] >= 100;
    }
    __atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("# met: %u ok, %u header, %u overrun, %u out of range\n", seen[AQD_OK], seen[AQD_ERR_HEADER], seen[AQD_ERR_OVERRUN],
           seen[AQD_ERR_TAIL]);
    CHECK(enough);
    fixture_free(&f);
}

int main(void)
{
    RUN(an_observer_reads_the_ring_alone_from_its_oldest_record);
    RUN(what_is_not_a_ring_is_refused);
    RUN(a_short_buffer_consumes_nothing);
    RUN(a_skip_that_returns_no_record_consumes_none);
    RUN(a_new_observer_knows_nothing);
    RUN(a_batch_of_an_observer_is_packed_and_bounded);
    RUN(at_the_tail_of_an_observer_a_wrong_number_shows_as_a_gap);
    RUN(moving_about_loses_nothing);
    RUN(an_observer_that_was_overrun_says_how_much_it_missed);
    RUN(going_to_the_latest_from_there_leaves_the_loss_to_be_told);
    RUN(an_observer_seeks_back_and_forth);
    RUN(damage_is_told_and_passed);
    RUN(control_words_that_make_no_sense_are_a_tail_out_of_range);
    RUN(a_record_of_a_producer_that_overruns_is_whole_or_is_not_delivered);
    RUN(whatever_happens_in_the_ring_every_call_ends_inside_it);
    return finish_tests();
}
