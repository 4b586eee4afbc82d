/* What an observer does when the producer goes on in the middle of a call, step by step and the
 * same every time: the ring lies across three pages, of which only the one touched last may be
 * read, and each time that another is touched a test is asked what the producer does before. */
#define _GNU_SOURCE 1
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "aqueduct/observer.h"
#include "fixture.h"

#define CAPACITY 16u

enum page { TAIL, OLDEST, DATA };

/* A ring whose tail is in one page, `oldest` and `state` in the next, the data in a third. */
struct stage {
    struct fixture f;
    aqd_observer o;
    unsigned char *pages;
    size_t page_bytes;
    /* What happens before a page is read, and how often which was. */
    void (*script)(struct stage *, enum page);
    unsigned touched[3];
};

static struct stage *current;

static void allow(const struct stage *s, int only)
{
    for (int page = TAIL; page <= DATA; page++) {
        int how = only < 0 || only == page ? PROT_READ | PROT_WRITE : PROT_NONE;
        if (mprotect(s->pages + (size_t)page * s->page_bytes, s->page_bytes, how) != 0) {
            abort();
        }
    }
}

static void touch(int number, siginfo_t *info, void *context)
{
    (void)context;
    struct stage *s = current;
    size_t at = s ? (size_t)((uintptr_t)info->si_addr - (uintptr_t)s->pages) : 0;
    if (!s || at >= 3 * s->page_bytes) {
        signal(number, SIG_DFL);
        return;
    }
    enum page page = (enum page)(at / s->page_bytes);
    allow(s, -1);
    s->touched[page]++;
    s->script(s, page);
    allow(s, (int)page);
}

static void set(const struct stage *s, size_t at, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(s->f.ring + at), aqd_le32(value), __ATOMIC_RELEASE);
}

static void stage_make(struct stage *s, uint32_t start)
{
    *s = (struct stage){.page_bytes = (size_t)sysconf(_SC_PAGESIZE)};
    void *pages = mmap(NULL, 3 * s->page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    s->f.cursor = aligned_alloc(64, AQD_CURSOR_BYTES_MIN);
    if (pages == MAP_FAILED || !s->f.cursor) {
        abort();
    }
    s->pages = pages;
    s->f.ring = s->pages + s->page_bytes - AQD_RING_OLDEST;
    uint32_t offset = (uint32_t)s->page_bytes + AQD_RING_OLDEST;
    s->f.ring_bytes = offset + CAPACITY * AQD_GRANULE_BYTES;
    writer_format(&s->f.w, s->f.ring, s->f.cursor, CAPACITY, offset, EPOCH, start);
    CHECK_EQ(aqd_observer_init(&s->o, s->f.ring, s->f.ring_bytes), AQD_OK);
}

static void stage_free(struct stage *s)
{
    munmap(s->pages, 3 * s->page_bytes);
    free(s->f.cursor);
}

/* From here on the script is asked; until curtain. */
static void play(struct stage *s, void (*script)(struct stage *, enum page))
{
    memset(s->touched, 0, sizeof s->touched);
    s->script = script;
    current = s;
    struct sigaction action = {.sa_sigaction = touch, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSEGV, &action, NULL) != 0 || sigaction(SIGBUS, &action, NULL) != 0) {
        abort();
    }
    allow(s, 3);
}

static void curtain(struct stage *s)
{
    allow(s, -1);
    current = NULL;
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
}

/* Records of two granules, the oldest of which are overwritten if need be; `oldest` before the
 * bytes, the tail after them. */
static void produce(struct stage *s, unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)s->f.w.seq);
        uint32_t oldest = aqd_get32(s->f.ring + AQD_RING_OLDEST);
        if (s->f.w.tail + 2 - oldest > CAPACITY) {
            set(s, AQD_RING_OLDEST, s->f.w.tail + 2 - CAPACITY);
        }
        writer_data(&s->f.w, 0, text, (uint32_t)strlen(text));
        writer_publish(&s->f.w);
    }
}

static aqd_status next(struct stage *s, aqd_record *rec)
{
    char buf[64];
    *rec = (aqd_record){.seq = 4711};
    aqd_status status = aqd_observer_next(&s->o, buf, sizeof buf, rec);
    if (status == AQD_OK) {
        char text[24];
        snprintf(text, sizeof text, "%llu", (unsigned long long)rec->seq);
        CHECK(rec->len == strlen(text) && memcmp(buf, text, rec->len) == 0);
    } else if (status == AQD_EMPTY || status == AQD_CLOSED) {
        CHECK_EQ(rec->seq, 4711); /* nothing to describe */
    }
    return status;
}

static aqd_status next_while(struct stage *s, void (*script)(struct stage *, enum page), aqd_record *rec)
{
    play(s, script);
    aqd_status status = next(s, rec);
    curtain(s);
    return status;
}

static void expect(struct stage *s, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++) {
        aqd_record rec;
        CHECK_EQ(next(s, &rec), AQD_OK);
        CHECK_EQ(rec.seq, seq);
    }
}

/* What the evidence says of an overrun: the next call reads on there. */
static void expect_missed(const struct stage *s, uint64_t expected, uint64_t found)
{
    const aqd_evidence *e = aqd_observer_get_evidence(&s->o);
    CHECK_EQ(e->expected_seq, expected);
    CHECK_EQ(e->found_seq, found);
    CHECK_EQ((uint32_t)e->position, (uint32_t)s->o.position);
    CHECK_EQ(e->resumed, e->position);
    CHECK_EQ(e->tail, s->o.tail);
    CHECK(e->stored_crc == 0 && e->computed_crc == 0);
}

static void expect_stats(const struct stage *s, uint64_t lost, uint64_t corrupt)
{
    CHECK_EQ(aqd_observer_get_stats(&s->o)->lost, lost);
    CHECK_EQ(aqd_observer_get_stats(&s->o)->corrupt, corrupt);
}

static void a_lap_before_the_first_bytes(struct stage *s, enum page page)
{
    if (page == DATA && s->touched[DATA] == 1) {
        produce(s, 10);
    }
}

static void a_lap_before_the_payload(struct stage *s, enum page page)
{
    if (page == DATA && s->touched[DATA] == 2) {
        produce(s, 10);
    }
}

/* ABI 4.3, 3: the copy is discarded and reading goes on at `oldest`; 5: the next number tells. */
static void what_is_overwritten_while_it_is_copied_is_discarded(void)
{
    void (*const scripts[])(struct stage *, enum page) = {a_lap_before_the_first_bytes, a_lap_before_the_payload};
    for (int i = 0; i < 2; i++) {
        struct stage s;
        aqd_record rec;
        stage_make(&s, UINT32_MAX - 7);
        produce(&s, 2);
        expect(&s, 0, 0);
        CHECK_EQ(next_while(&s, scripts[i], &rec), AQD_ERR_OVERRUN);
        CHECK_EQ(rec.seq, 4);
        expect_missed(&s, 1, 4);
        expect_stats(&s, 3, 0);
        expect(&s, 4, 11);
        CHECK_EQ(next(&s, &rec), AQD_EMPTY);
        /* Before its first record it has missed nothing: before the first header that was whole. */
        CHECK_EQ(aqd_observer_init(&s.o, s.f.ring, s.f.ring_bytes), AQD_OK);
        CHECK_EQ(next_while(&s, scripts[i], &rec), i == 0 ? AQD_OK : AQD_ERR_OVERRUN);
        CHECK_EQ(rec.seq, 14);
        expect_stats(&s, i == 0 ? 0 : 10, 0);
        stage_free(&s);
    }
}

static unsigned laps;

static void laps_before_first_bytes(struct stage *s, enum page page)
{
    /* Of a header that is discarded no payload is read. */
    if (page == DATA && s->touched[DATA] <= laps) {
        produce(s, 10);
    }
}

/* ABI 4.3, 6: bounded; and a call that gave up leaves the number to a later one. */
static void an_observer_that_is_overrun_again_and_again_says_so_and_later_by_how_much(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 0);
    produce(&s, 2);
    expect(&s, 0, 0);
    laps = 1000;
    CHECK_EQ(next_while(&s, laps_before_first_bytes, &rec), AQD_ERR_OVERRUN);
    expect_missed(&s, 1, 1);
    expect_stats(&s, 0, 0);
    CHECK_EQ(s.touched[DATA], 8);
    CHECK_EQ(next(&s, &rec), AQD_ERR_OVERRUN);
    CHECK_EQ(rec.seq, 74);
    expect_missed(&s, 1, 74);
    expect_stats(&s, 73, 0);
    expect(&s, 74, 81);
    /* One that goes on in time is told at once by how much. */
    laps = 7;
    produce(&s, 1);
    CHECK_EQ(next_while(&s, laps_before_first_bytes, &rec), AQD_ERR_OVERRUN);
    expect_missed(&s, 82, 145);
    expect(&s, 145, 152);
    stage_free(&s);
}

static unsigned moves;

/* Between the look at `oldest` and that at the tail. */
static void moves_between_the_words(struct stage *s, enum page page)
{
    if (page == TAIL && moves > 0) {
        moves--;
        produce(s, 9);
    }
}

/* ABI 4.3, 1: loaded again, a bounded number of times. */
static void words_that_move_while_they_are_loaded_are_loaded_again(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 0);
    produce(&s, 1);
    expect(&s, 0, 0);
    /* The first look at the tail is that of an ordinary call. */
    moves = 8;
    CHECK_EQ(next_while(&s, moves_between_the_words, &rec), AQD_ERR_OVERRUN);
    CHECK_EQ(rec.seq, 65);
    expect_missed(&s, 1, 65);
    CHECK_EQ(s.touched[TAIL], 9);
    expect(&s, 65, 72);
    moves = 9;
    CHECK_EQ(next_while(&s, moves_between_the_words, &rec), AQD_ERR_OVERRUN);
    CHECK_EQ(s.touched[TAIL], 9);
    expect_missed(&s, 73, 73);
    expect_stats(&s, 64, 0);
    CHECK_EQ(next(&s, &rec), AQD_ERR_OVERRUN);
    expect_missed(&s, 73, 146);
    expect_stats(&s, 64 + 73, 0);
    /* To join a ring in that state is no failure; nor is anything missed before its first. */
    moves = 8;
    play(&s, moves_between_the_words);
    s.touched[TAIL] = 0;
    CHECK_EQ(aqd_observer_init(&s.o, s.f.ring, s.f.ring_bytes), AQD_OK);
    curtain(&s);
    CHECK_EQ(next(&s, &rec), AQD_OK);
    CHECK_EQ(rec.seq, s.f.w.seq - 8);
    expect_stats(&s, 0, 0);
    stage_free(&s);
}

static void move_once_and_stand(struct stage *s, enum page page)
{
    if (page == TAIL && s->touched[TAIL] == 2) {
        set(s, AQD_RING_TAIL, 300);
        set(s, AQD_RING_OLDEST, 283);
    }
}

static void words_that_do_not_fit_and_stand_still_are_a_tail_out_of_range(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 100);
    produce(&s, 2);
    expect(&s, 0, 0);
    set(&s, AQD_RING_TAIL, 200);
    set(&s, AQD_RING_OLDEST, 183);
    CHECK_EQ(next(&s, &rec), AQD_ERR_TAIL);
    const aqd_evidence *e = aqd_observer_get_evidence(&s.o);
    CHECK(e->position == 183 && e->tail == 200 && e->resumed == 102 && e->expected_seq == 0 && e->found_seq == 0);
    expect_stats(&s, 0, 0);
    stage_free(&s);

    /* Of words that have moved since nobody knows yet. */
    stage_make(&s, 100);
    produce(&s, 1);
    expect(&s, 0, 0);
    set(&s, AQD_RING_TAIL, 200);
    set(&s, AQD_RING_OLDEST, 183);
    CHECK_EQ(next_while(&s, move_once_and_stand, &rec), AQD_ERR_OVERRUN);
    expect_missed(&s, 1, 1);
    CHECK_EQ(next(&s, &rec), AQD_ERR_TAIL);
    CHECK_EQ(aqd_observer_get_evidence(&s.o)->tail, 300);
    stage_free(&s);
}

/* Not overrun: everything since is there still. */
static void an_observer_a_whole_ring_behind_has_missed_nothing(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, UINT32_MAX - 21);
    produce(&s, 1);
    expect(&s, 0, 0);
    produce(&s, 8);
    expect(&s, 1, 8);
    CHECK_EQ(next(&s, &rec), AQD_EMPTY);
    expect_stats(&s, 0, 0);
    /* The oldest record of a full ring is whole, too. */
    CHECK_EQ(aqd_observer_seek(&s.o, EPOCH, 1), AQD_OK);
    expect(&s, 1, 8);
    stage_free(&s);
}

static void a_record_and_the_end(struct stage *s, enum page page)
{
    if (page == OLDEST && s->touched[OLDEST] == 1) { /* `state`, after a tail that brought nothing */
        produce(s, 1);
        writer_close(&s->f.w);
    }
}

static void a_lap_and_the_end(struct stage *s, enum page page)
{
    if (page == OLDEST && s->touched[OLDEST] == 1) {
        produce(s, 12);
        set(s, AQD_RING_OLDEST, s->f.w.tail + 1 - CAPACITY + 1);
        writer_close(&s->f.w);
    }
}

static void the_end_and_nonsense(struct stage *s, enum page page)
{
    if (page == OLDEST && s->touched[OLDEST] == 1) {
        writer_close(&s->f.w);
        set(s, AQD_RING_TAIL, 1000);
    }
}

/* ABI 4.2: a tail loaded after the `closed` covers every record. */
static void a_close_between_two_looks_hides_no_record(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 0);
    produce(&s, 1);
    expect(&s, 0, 0);
    CHECK_EQ(next_while(&s, a_record_and_the_end, &rec), AQD_OK);
    CHECK_EQ(rec.seq, 1);
    CHECK_EQ(next(&s, &rec), AQD_CLOSED);
    CHECK_EQ(next(&s, &rec), AQD_CLOSED);
    expect_stats(&s, 0, 0);
    stage_free(&s);

    stage_make(&s, 0);
    produce(&s, 1);
    expect(&s, 0, 0);
    CHECK_EQ(next_while(&s, a_lap_and_the_end, &rec), AQD_ERR_OVERRUN);
    expect_missed(&s, 1, 6);
    expect(&s, 6, 12);
    CHECK_EQ(next(&s, &rec), AQD_CLOSED);
    stage_free(&s);

    stage_make(&s, 0);
    CHECK_EQ(next_while(&s, the_end_and_nonsense, &rec), AQD_ERR_TAIL);
    CHECK_EQ(aqd_observer_get_evidence(&s.o)->tail, 1000);
    stage_free(&s);

    /* Nothing more came before the end. */
    stage_make(&s, 0);
    produce(&s, 1);
    expect(&s, 0, 0);
    set(&s, AQD_RING_STATE, AQD_STATE_CLOSED);
    CHECK_EQ(next(&s, &rec), AQD_CLOSED);
    stage_free(&s);
}

static void damage(const struct stage *s, uint32_t position) { writer_at(&s->f.w, position)[16] ^= 1; }

/* ABI 4.2, step 4, and what aqueduct/reader.h says of evidence. */
static void a_damaged_header_is_told_with_where_it_was_and_what_came_after(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 64);
    produce(&s, 5); /* at 64, 66, 68, 70, 72 */
    expect(&s, 0, 0);
    damage(&s, 66);
    damage(&s, 68);
    CHECK_EQ(next(&s, &rec), AQD_ERR_HEADER);
    const aqd_evidence *e = aqd_observer_get_evidence(&s.o);
    CHECK(e->position == 66 && e->resumed == 70 && e->tail == 74 && e->expected_seq == 1 && e->found_seq == 3);
    CHECK(e->stored_crc == aqd_get32(writer_at(&s.f.w, 66) + 28) && e->computed_crc != e->stored_crc);
    expect_stats(&s, 2, 1);
    expect(&s, 3, 3);
    damage(&s, 72); /* the last: nothing tells yet how much was lost */
    CHECK_EQ(next(&s, &rec), AQD_ERR_HEADER);
    CHECK(e->position == 72 && e->resumed == 74 && e->found_seq == 0);
    expect_stats(&s, 2, 2);
    CHECK_EQ(next(&s, &rec), AQD_EMPTY);
    produce(&s, 2);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    CHECK_EQ(rec.seq, 5);
    expect_missed(&s, 4, 5);
    expect_stats(&s, 3, 2);
    expect(&s, 5, 6);
    /* Damage that took no record: a filler. */
    uint32_t filler = writer_discard(&s.f.w, 0);
    produce(&s, 1);
    damage(&s, filler);
    CHECK_EQ(next(&s, &rec), AQD_ERR_HEADER);
    CHECK_EQ(e->found_seq, 7);
    expect_stats(&s, 3, 3);
    expect(&s, 7, 7);
    /* A record of one granule comes right before it: the search goes forward. */
    writer_data(&s.f.w, 0, "", 0);
    produce(&s, 2);
    CHECK_EQ(aqd_observer_skip(&s.o, &rec), AQD_OK);
    uint32_t after = (uint32_t)s.o.position;
    damage(&s, after);
    CHECK_EQ(next(&s, &rec), AQD_ERR_HEADER);
    CHECK(e->position == after && e->resumed == after + 2 && e->expected_seq == 9 && e->found_seq == 10);
    expect_stats(&s, 4, 4);
    expect(&s, 10, 10);
    stage_free(&s);

    /* Before its first record it has missed nothing: the one after the damage is the first. */
    stage_make(&s, 0);
    s.f.w.seq = 20;
    produce(&s, 3);
    damage(&s, 0);
    CHECK_EQ(next(&s, &rec), AQD_ERR_HEADER);
    CHECK_EQ(aqd_observer_get_evidence(&s.o)->found_seq, 21);
    expect_stats(&s, 0, 1);
    s.f.w.seq = 30; /* from there on it counts */
    writer_raw(&s.f.w, AQD_KIND_DATA, 0, 30, 0, "30", 2);
    damage(&s, 2);
    writer_publish(&s.f.w);
    CHECK_EQ(next(&s, &rec), AQD_ERR_HEADER);
    CHECK_EQ(aqd_observer_get_evidence(&s.o)->expected_seq, 21);
    CHECK_EQ(aqd_observer_get_evidence(&s.o)->found_seq, 22);
    expect_stats(&s, 1, 2);
    expect(&s, 22, 22);
    stage_free(&s);
}

static void oldest_passes_the_damage(struct stage *s, enum page page)
{
    if (page == DATA && s->touched[DATA] == 2) { /* the search after the damage */
        set(s, AQD_RING_OLDEST, 4);
    }
}

/* ABI 4.3, 4: a number found after the damage tells nothing if the damage may have been bytes of a
 * later lap. */
static void a_search_during_which_it_was_overrun_counts_nothing(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 0);
    produce(&s, 4);
    expect(&s, 0, 0);
    damage(&s, 2);
    CHECK_EQ(next_while(&s, oldest_passes_the_damage, &rec), AQD_ERR_HEADER);
    const aqd_evidence *e = aqd_observer_get_evidence(&s.o);
    CHECK(e->position == 2 && e->resumed == 4 && e->expected_seq == 1 && e->found_seq == 0);
    expect_stats(&s, 0, 1);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    expect_missed(&s, 1, 2);
    expect_stats(&s, 1, 1);
    expect(&s, 2, 3);
    stage_free(&s);
}

/* A number that does not follow is told once, and counted if it went ahead. */
static void a_gap_is_told_from_an_overrun(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 0);
    produce(&s, 1);
    expect(&s, 0, 0);
    s.f.w.seq = 5;
    produce(&s, 1);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    CHECK_EQ(rec.seq, 5);
    expect_missed(&s, 1, 5);
    expect_stats(&s, 4, 0);
    expect(&s, 5, 5);
    s.f.w.seq = 2; /* a producer that counts backwards: nothing was lost */
    produce(&s, 1);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    expect_missed(&s, 6, 2);
    expect_stats(&s, 4, 0);
    expect(&s, 2, 2);

    /* Overrun by a lap whose numbers go back: no number of records was missed. */
    s.f.w.seq = 1;
    produce(&s, 9);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    expect_missed(&s, 3, 2);
    expect(&s, 2, 9);
    /* An overrun that was told is not told again. */
    produce(&s, 10);
    CHECK_EQ(next(&s, &rec), AQD_ERR_OVERRUN);
    expect(&s, 12, 19);
    s.f.w.seq = 25;
    produce(&s, 1);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    expect(&s, 25, 25);

    /* Nor one that cost nothing: only a filler was overwritten. */
    uint32_t filler = writer_discard(&s.f.w, 0);
    produce(&s, 1);
    set(&s, AQD_RING_OLDEST, filler + 1);
    expect(&s, 26, 26);
    s.f.w.seq = 30;
    produce(&s, 1);
    CHECK_EQ(next(&s, &rec), AQD_ERR_GAP);
    expect_missed(&s, 27, 30);
    stage_free(&s);
}

static void a_lap_between_the_words(struct stage *s, enum page page)
{
    if (page == TAIL) {
        produce(s, 9);
    }
}

/* As much as there can be, from the oldest record that is whole. */
static void the_lag_of_an_observer_that_is_overrun_meanwhile_is_the_whole_ring(void)
{
    struct stage s;
    aqd_lag lag;
    stage_make(&s, 0);
    produce(&s, 2);
    expect(&s, 0, 0);
    CHECK_EQ(aqd_observer_measure_lag(&s.o, 1000, &lag), AQD_OK);
    CHECK(lag.records == 1 && lag.bytes == 2 * 32 && lag.age_ns == 1000);
    play(&s, a_lap_between_the_words);
    CHECK_EQ(aqd_observer_measure_lag(&s.o, 1000, &lag), AQD_OK);
    curtain(&s);
    CHECK(lag.records == 10 && lag.bytes == CAPACITY * 32 && lag.age_ns == 1000);
    stage_free(&s);
}

static void nonsense_before_the_first_bytes(struct stage *s, enum page page)
{
    if (page == DATA && s->touched[DATA] == 1) {
        set(s, AQD_RING_TAIL, 1000);
    }
}

static void a_seek_that_is_overrun_again_and_again_says_so(void)
{
    struct stage s;
    aqd_record rec;
    stage_make(&s, 0);
    produce(&s, 6);
    laps = 1000;
    play(&s, laps_before_first_bytes);
    CHECK_EQ(aqd_observer_seek(&s.o, EPOCH, UINT64_MAX), AQD_ERR_OVERRUN);
    curtain(&s);
    CHECK_EQ(s.touched[DATA], 8);
    moves = 8;
    play(&s, moves_between_the_words);
    CHECK_EQ(aqd_observer_seek(&s.o, EPOCH, UINT64_MAX), AQD_ERR_OVERRUN);
    curtain(&s);
    CHECK_EQ(s.touched[TAIL], 8);
    uint64_t seq = s.f.w.seq - 1;
    CHECK_EQ(aqd_observer_seek(&s.o, EPOCH, seq), AQD_OK);
    expect(&s, seq, seq);
    CHECK_EQ(next(&s, &rec), AQD_EMPTY);
    expect_stats(&s, 0, 0);
    play(&s, nonsense_before_the_first_bytes);
    CHECK_EQ(aqd_observer_seek(&s.o, EPOCH, UINT64_MAX), AQD_ERR_TAIL);
    curtain(&s);
    stage_free(&s);
}

static unsigned granules;

static void a_record_each_time(struct stage *s, enum page page)
{
    if (page == TAIL && granules < 1000 * CAPACITY) {
        granules += 2;
        produce(s, 1);
    }
}

static void damage_each_time(struct stage *s, enum page page)
{
    if (page == TAIL && granules < 1000 * CAPACITY) {
        granules += 14;
        set(s, AQD_RING_OLDEST, s->f.w.tail + 14 - CAPACITY);
        s->f.w.tail += 14;
        writer_publish(&s->f.w);
    }
}

static void a_filler_and_a_record_each_time(struct stage *s, enum page page)
{
    if (page == TAIL && granules < 1000 * CAPACITY) {
        granules += 4;
        set(s, AQD_RING_OLDEST, s->f.w.tail + 4 - CAPACITY);
        writer_discard(&s->f.w, 32);
        produce(s, 1);
    }
}

/* aqueduct/observer.h: no call loops more than 64 times the capacity. */
static void a_seek_ends_although_the_producer_goes_on(void)
{
    void (*const scripts[])(struct stage *, enum page) = {a_record_each_time, damage_each_time, a_filler_and_a_record_each_time};
    for (int i = 0; i < 6; i++) {
        struct stage s;
        stage_make(&s, 0);
        produce(&s, (unsigned)i % 2); /* it may run out at a filler or at a record */
        granules = 0;
        play(&s, scripts[i / 2]);
        CHECK_EQ(aqd_observer_seek(&s.o, EPOCH, UINT64_MAX), AQD_ERR_OVERRUN);
        curtain(&s);
        CHECK_EQ(aqd_observer_get_evidence(&s.o)->found_seq, aqd_observer_get_evidence(&s.o)->expected_seq);
        CHECK(granules >= 16 * CAPACITY); /* nor does it end at once */
        CHECK(granules <= 64 * CAPACITY);
        stage_free(&s);
    }
}

/* It reads no farther than a reader may, whoever writes. */
static void a_seek_of_a_reader_ends_although_the_producer_does_not_wait_for_it(void)
{
    for (uint32_t first = 0; first < 4; first++) { /* the rounds may run out at any number */
        struct stage s;
        stage_make(&s, 0);
        CHECK_EQ(fixture_attach(&s.f), AQD_OK);
        static const unsigned char payload[3 * 32];
        writer_data(&s.f.w, 0, payload, 32 * first);
        writer_publish(&s.f.w);
        granules = 0;
        play(&s, a_record_each_time);
        CHECK_EQ(aqd_reader_seek(&s.f.r, EPOCH, UINT64_MAX), AQD_ERR_TAIL);
        curtain(&s);
        CHECK(granules >= 2 * CAPACITY);
        CHECK(granules <= 4 * CAPACITY);
        CHECK_EQ(aqd_reader_get_evidence(&s.f.r)->expected_seq, UINT64_MAX);
        stage_free(&s);
    }
}

int main(void)
{
    RUN(what_is_overwritten_while_it_is_copied_is_discarded);
    RUN(an_observer_that_is_overrun_again_and_again_says_so_and_later_by_how_much);
    RUN(words_that_move_while_they_are_loaded_are_loaded_again);
    RUN(words_that_do_not_fit_and_stand_still_are_a_tail_out_of_range);
    RUN(an_observer_a_whole_ring_behind_has_missed_nothing);
    RUN(a_close_between_two_looks_hides_no_record);
    RUN(a_damaged_header_is_told_with_where_it_was_and_what_came_after);
    RUN(a_search_during_which_it_was_overrun_counts_nothing);
    RUN(a_gap_is_told_from_an_overrun);
    RUN(the_lag_of_an_observer_that_is_overrun_meanwhile_is_the_whole_ring);
    RUN(a_seek_that_is_overrun_again_and_again_says_so);
    RUN(a_seek_of_a_reader_ends_although_the_producer_does_not_wait_for_it);
    RUN(a_seek_ends_although_the_producer_goes_on);
    return finish_tests();
}
