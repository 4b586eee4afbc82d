/* Finding a stored number, going to the latest record, and the lag, for readers over memory. */
#include "fixture.h"

static void publish(struct fixture *f, unsigned records)
{
    for (unsigned i = 0; i < records; i++) {
        writer_data(&f->w, 0, "x", 1);
    }
    writer_publish(&f->w);
}

/* A reader that starts at record 5 of 10. */
static void make(struct fixture *f)
{
    fixture_make(f, 64, UINT32_MAX - 20);
    f->w.seq = 5;
    publish(f, 5);
}

static void every_stored_number_is_found_told_gone_or_told_ahead(void)
{
    for (uint64_t seq = 0; seq < 20; seq++) {
        struct fixture f;
        make(&f);
        aqd_status status = aqd_reader_seek(&f.r, EPOCH, seq);
        CHECK_EQ(status, seq < 5 ? AQD_ERR_GONE : seq <= 10 ? AQD_OK : AQD_AHEAD);
        if (seq < 5) {
            CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 5);
            CHECK_EQ(aqd_reader_get_evidence(&f.r)->expected_seq, seq);
        }
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), UINT32_MAX - 20); /* nothing is released */
        publish(&f, 1);
        expect_record(&f, seq < 5 ? 5 : seq > 10 ? 10 : seq, "x", 1);
        fixture_free(&f);
    }
}

static void a_number_of_another_ring_moves_nothing(void)
{
    struct fixture f;
    make(&f);
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH + 1, 7), AQD_ERR_EPOCH);
    expect_record(&f, 5, "x", 1);
    fixture_free(&f);
}

static void a_reader_that_has_read_on_does_not_go_back(void)
{
    struct fixture f;
    make(&f);
    for (uint64_t seq = 5; seq < 10; seq++) {
        expect_record(&f, seq, "x", 1);
    }
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 7), AQD_ERR_GONE);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 10);
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 10), AQD_OK);
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 11), AQD_AHEAD);
    fixture_free(&f);
}

/* A fresh reader at an empty ring's tail knows no number but the producer's next one. */
static void at_the_tail_a_wrong_number_shows_as_a_gap_at_the_first_record(void)
{
    for (uint64_t seq = 7; seq <= 11; seq++) {
        struct fixture f;
        fixture_make(&f, 16, 0);
        f.w.seq = 9;
        writer_publish(&f.w);
        CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 9 + UINT32_MAX / 2), AQD_AHEAD);
        CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, seq), seq <= 9 ? AQD_OK : AQD_AHEAD);
        publish(&f, 1);
        if (seq < 9) {
            expect_status(&f, AQD_ERR_GAP);
            CHECK_EQ(aqd_reader_get_evidence(&f.r)->expected_seq, seq);
        }
        expect_record(&f, 9, "x", 1);
        fixture_free(&f);
    }
}

static void damage_on_the_way_is_counted_and_passed(void)
{
    struct fixture f;
    make(&f);
    writer_at(&f.w, UINT32_MAX - 20 + 2)[0] ^= 1; /* the header of record 6 */
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 8), AQD_OK);
    CHECK(aqd_reader_get_stats(&f.r)->corrupt > 0);
    expect_record(&f, 8, "x", 1);
    fixture_free(&f);
    make(&f);
    writer_at(&f.w, UINT32_MAX - 20 + 6)[0] ^= 1; /* of the record sought, 8 */
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 8), AQD_ERR_GONE);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 9);
    fixture_free(&f);
}

static void going_to_the_latest_skips_everything_without_a_gap(void)
{
    struct fixture f;
    make(&f);
    expect_record(&f, 5, "x", 1);
    CHECK_EQ(aqd_reader_skip_to_latest(&f.r), AQD_OK);
    expect_status(&f, AQD_EMPTY);
    publish(&f, 1);
    expect_record(&f, 10, "x", 1);
    aqd_put32(f.ring + AQD_RING_TAIL, (uint32_t)f.r.position + 65);
    CHECK_EQ(aqd_reader_skip_to_latest(&f.r), AQD_ERR_TAIL);
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 5), AQD_ERR_TAIL);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->tail, (uint32_t)f.r.position + 65); /* the word that was rejected */
    aqd_lag lag = {.records = 9};
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 0, &lag), AQD_ERR_TAIL);
    CHECK_EQ(lag.records, 0);
    fixture_free(&f);
}

static void going_to_the_latest_takes_all_of_a_full_ring_and_of_none_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    publish(&f, 8);
    CHECK_EQ(aqd_reader_skip_to_latest(&f.r), AQD_OK);
    expect_status(&f, AQD_EMPTY);
    aqd_reader_release(&f.r);
    publish(&f, 1);
    expect_record(&f, 8, "x", 1);
    /* Skipped, be it a granule: what comes is no gap. */
    writer_data(&f.w, 0, "", 0);
    f.w.seq = 20;
    writer_publish(&f.w);
    CHECK_EQ(aqd_reader_skip_to_latest(&f.r), AQD_OK);
    expect_status(&f, AQD_EMPTY);
    publish(&f, 1);
    expect_record(&f, 20, "x", 1);
    /* It is at the latest already, and knows what must come. */
    CHECK_EQ(aqd_reader_skip_to_latest(&f.r), AQD_OK);
    f.w.seq = 30;
    publish(&f, 1);
    expect_status(&f, AQD_ERR_GAP);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->expected_seq, 21);
    fixture_free(&f);
}

static void the_lag_counts_records_bytes_and_age(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    aqd_lag lag;
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 0 && lag.bytes == 0 && lag.age_ns == 0);
    writer_discard(&f.w, 32); /* a padding record first: it says nothing of age */
    writer_raw(&f.w, AQD_KIND_DATA, 0, f.w.seq++, 400, "x", 1);
    writer_raw(&f.w, AQD_KIND_DATA, 0, f.w.seq++, 500, "x", 1);
    writer_publish(&f.w);
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 2 && lag.bytes == 6 * 32 && lag.age_ns == 600);
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 10, &lag), AQD_OK);
    CHECK_EQ(lag.age_ns, 0); /* a clock that is behind */
    expect_record(&f, 0, "x", 1);
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 1 && lag.bytes == 2 * 32 && lag.age_ns == 500);
    expect_record(&f, 1, "x", 1);
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 0 && lag.bytes == 0 && lag.age_ns == 0);
    fixture_free(&f);
}

/* A reader that has read nothing counts from the first record that is there, and from none if there
 * is none or its header is damaged. */
static void the_lag_of_a_fresh_reader_counts_what_it_finds(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    f.w.seq = 9;
    writer_publish(&f.w);
    aqd_lag lag;
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 0 && lag.bytes == 0 && lag.age_ns == 0);
    publish(&f, 8); /* all of the ring */
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 8 && lag.bytes == 16 * 32 && lag.age_ns == 1000);
    writer_at(&f.w, 0)[16] ^= 1;
    CHECK_EQ(aqd_reader_measure_lag(&f.r, 1000, &lag), AQD_OK);
    CHECK(lag.records == 0 && lag.bytes == 16 * 32 && lag.age_ns == 0);
    fixture_free(&f);
}

/* Headers that are right and numbers that are not: whatever is sought, an answer comes. */
static void a_ring_of_lies_does_not_keep_a_seek(void)
{
    uint64_t random = 3;
    for (int round = 0; round < 2000; round++) {
        struct fixture f;
        uint32_t capacity = UINT32_C(4) << next_random(&random) % 6;
        fixture_make(&f, capacity, (uint32_t)next_random(&random));
        while (f.w.tail - (uint32_t)f.r.position < capacity && next_random(&random) % 32 != 0) {
            writer_raw(&f.w, (uint8_t)(1 + next_random(&random) % 3), 0, next_random(&random) % 16, 0, NULL, 0);
        }
        writer_publish(&f.w);
        if (next_random(&random) % 2) {
            f.ring[OFFSET + next_random(&random) % (f.ring_bytes - OFFSET)] ^= 1;
        }
        aqd_reader_seek(&f.r, EPOCH, next_random(&random) % 20);
        CHECK(f.r.tail - f.r.position <= capacity);
        aqd_lag lag;
        aqd_reader_measure_lag(&f.r, 5, &lag);
        CHECK(lag.bytes <= (uint64_t)capacity * 32);
        fixture_free(&f);
    }
}

int main(void)
{
    RUN(every_stored_number_is_found_told_gone_or_told_ahead);
    RUN(a_number_of_another_ring_moves_nothing);
    RUN(a_reader_that_has_read_on_does_not_go_back);
    RUN(at_the_tail_a_wrong_number_shows_as_a_gap_at_the_first_record);
    RUN(damage_on_the_way_is_counted_and_passed);
    RUN(going_to_the_latest_skips_everything_without_a_gap);
    RUN(going_to_the_latest_takes_all_of_a_full_ring_and_of_none_nothing);
    RUN(the_lag_counts_records_bytes_and_age);
    RUN(the_lag_of_a_fresh_reader_counts_what_it_finds);
    RUN(a_ring_of_lies_does_not_keep_a_seek);
    return finish_tests();
}
