/* The reader on a ring that keeps the protocol: order, wrapping, ending, releasing, sleeping. */
#include "fixture.h"

static void records_come_in_order_with_their_fields(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_raw(&f.w, AQD_KIND_DATA, 0xBEEF, 0, 123456789012345, "abc", 3);
    f.w.seq = 1;
    writer_data(&f.w, 0, "", 0);
    expect_status(&f, AQD_EMPTY);
    writer_publish(&f.w);
    char buf[8];
    aqd_record rec;
    CHECK_EQ(aqd_reader_next(&f.r, buf, sizeof buf, &rec), AQD_OK);
    CHECK_EQ(rec.type_tag, 0xBEEF);
    CHECK_EQ(rec.timestamp_ns, 123456789012345);
    CHECK_EQ(rec.flags, 0);
    CHECK_EQ(rec.len, 3);
    CHECK(memcmp(buf, "abc", 3) == 0);
    expect_record(&f, 1, "", 0);
    expect_status(&f, AQD_EMPTY);
    expect_status(&f, AQD_EMPTY);
    fixture_free(&f);
}

static void every_length_up_to_the_largest_wraps_correctly_into_any_buffer_alignment(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    unsigned char payload[224], buf[240];
    uint64_t random = 7, seq = 0;
    for (int round = 0; round < 4; round++) {
        for (uint32_t len = 0; len <= 224; len++) {
            for (size_t i = 0; i < len; i++) {
                payload[i] = (unsigned char)next_random(&random);
            }
            writer_data(&f.w, (uint16_t)len, payload, len);
            writer_publish(&f.w);
            aqd_record rec;
            size_t shift = len % 9;
            memset(buf, 0xAA, sizeof buf);
            CHECK_EQ(aqd_reader_next(&f.r, buf + shift, len, &rec), AQD_OK);
            CHECK_EQ(rec.seq, seq++);
            CHECK(memcmp(buf + shift, payload, len) == 0);
            CHECK_EQ(buf[shift + len], 0xAA);
            aqd_reader_release(&f.r);
        }
    }
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 0);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 0);
    fixture_free(&f);
}

static void pads_discards_and_unknown_kinds_are_skipped(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "a", 1);
    writer_discard(&f.w, 100);
    writer_raw(&f.w, 200, 9, 77, 5, NULL, 64); /* of a later minor version; its seq is not checked */
    writer_data(&f.w, 0, "b", 1);
    writer_raw(&f.w, AQD_KIND_PAD, 0, f.w.seq, 0, NULL, (16 - f.w.tail % 16 - 1) * 32);
    writer_publish(&f.w);
    expect_record(&f, 0, "a", 1);
    expect_record(&f, 1, "b", 1);
    expect_status(&f, AQD_EMPTY);
    CHECK_EQ(f.r.position, 16);
    fixture_free(&f);
}

static void a_discard_may_be_longer_than_the_largest_payload(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_discard(&f.w, 13 * 32);
    writer_data(&f.w, 0, "", 0);
    writer_publish(&f.w);
    expect_record(&f, 0, "", 0);
    fixture_free(&f);
}

static void a_short_buffer_consumes_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "0123456789", 10);
    writer_publish(&f.w);
    char buf[10] = "";
    aqd_record rec = {0};
    CHECK_EQ(aqd_reader_next(&f.r, buf, 9, &rec), AQD_ERR_SPACE);
    CHECK_EQ(rec.len, 10);
    CHECK_EQ(buf[0], 0);
    CHECK_EQ(aqd_reader_next(&f.r, NULL, 0, &rec), AQD_ERR_SPACE);
    CHECK_EQ(aqd_reader_next(&f.r, buf, 10, &rec), AQD_OK);
    fixture_free(&f);
}

static void a_buffer_one_byte_too_short_for_a_long_record_consumes_nothing(void)
{
    for (uint32_t len = 64; len <= 224; len++) {
        struct fixture f;
        fixture_make(&f, 16, 0);
        unsigned char payload[224], buf[225];
        memset(payload, (int)len, sizeof payload);
        memset(buf, 0x55, sizeof buf);
        writer_data(&f.w, 0, "a", 1);
        writer_raw(&f.w, AQD_KIND_DATA, 0xBEEF, 1, 123456789012345, payload, len);
        writer_publish(&f.w);
        expect_record(&f, 0, "a", 1);
        for (int i = 0; i < 2; i++) {
            aqd_record rec = {0};
            CHECK_EQ(aqd_reader_next(&f.r, buf, len - 1, &rec), AQD_ERR_SPACE);
            CHECK_EQ(rec.seq, 1);
            CHECK_EQ(rec.len, len);
            CHECK_EQ(rec.type_tag, 0xBEEF);
            CHECK_EQ(rec.timestamp_ns, 123456789012345);
            CHECK_EQ(buf[len - 1], 0x55);
            CHECK_EQ(f.r.position, 2);
        }
        aqd_record rec = {0};
        CHECK_EQ(aqd_reader_next(&f.r, buf, len, &rec), AQD_OK);
        CHECK_EQ(rec.timestamp_ns, 123456789012345);
        CHECK(rec.len == len && memcmp(buf, payload, len) == 0);
        CHECK_EQ(buf[len], 0x55);
        expect_status(&f, AQD_EMPTY);
        fixture_free(&f);
    }
}

static void a_gap_is_reported_once_and_then_the_record_comes(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "a", 1);
    f.w.seq = 5;
    writer_data(&f.w, 0, "b", 1);
    writer_publish(&f.w);
    expect_record(&f, 0, "a", 1);
    char buf[1];
    aqd_record rec;
    CHECK_EQ(aqd_reader_next(&f.r, buf, 1, &rec), AQD_ERR_GAP);
    CHECK_EQ(rec.seq, 5);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->expected_seq, 1);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 5);
    expect_record(&f, 5, "b", 1);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 4);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 0);
    fixture_free(&f);
}

static void a_gap_before_a_long_record_is_reported_once(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    unsigned char payload[200], buf[200];
    memset(payload, 'x', sizeof payload);
    writer_data(&f.w, 0, "a", 1);
    f.w.seq = 5;
    writer_data(&f.w, 0, payload, sizeof payload);
    writer_publish(&f.w);
    expect_record(&f, 0, "a", 1);
    aqd_record rec;
    CHECK_EQ(aqd_reader_next(&f.r, buf, sizeof buf, &rec), AQD_ERR_GAP);
    CHECK_EQ(rec.seq, 5);
    CHECK_EQ(rec.len, sizeof payload);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->expected_seq, 1);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 5);
    expect_record(&f, 5, payload, sizeof payload);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 4);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 0);
    fixture_free(&f);
}

static void a_gap_backwards_loses_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    f.w.seq = 9;
    writer_data(&f.w, 0, "a", 1); /* the first record may have any number */
    f.w.seq = 3;
    writer_data(&f.w, 0, "b", 1);
    writer_publish(&f.w);
    expect_record(&f, 9, "a", 1);
    expect_status(&f, AQD_ERR_GAP);
    expect_record(&f, 3, "b", 1);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 0);
    fixture_free(&f);
}

static void a_tail_beyond_the_capacity_is_out_of_range_and_nothing_moves(void)
{
    struct fixture f;
    fixture_make(&f, 16, 100);
    f.w.tail = 117;
    writer_publish(&f.w);
    expect_status(&f, AQD_ERR_TAIL);
    expect_status(&f, AQD_ERR_TAIL);
    CHECK_EQ(f.r.position, 100);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->tail, 117);
    CHECK_EQ(fixture_attach(&f), AQD_ERR_TAIL);
    expect_status(&f, AQD_ERR_TAIL);
    f.w.tail = 99; /* a tail that goes back is as impossible */
    writer_publish(&f.w);
    CHECK_EQ(fixture_attach(&f), AQD_ERR_TAIL);
    f.w.tail = 100;
    writer_data(&f.w, 0, "a", 1);
    writer_publish(&f.w);
    expect_record(&f, 0, "a", 1);
    fixture_free(&f);
}

static void a_closed_ring_ends_after_its_last_record(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "a", 1);
    writer_publish(&f.w);
    writer_close(&f.w);
    expect_record(&f, 0, "a", 1);
    expect_status(&f, AQD_CLOSED);
    expect_status(&f, AQD_CLOSED);
    CHECK_EQ(f.r.position, 3); /* the closing DISCARD is used up too */
    fixture_free(&f);
}

static void a_producer_killed_between_state_and_tail_has_closed(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    aqd_put32(f.ring + AQD_RING_STATE, AQD_STATE_CLOSED);
    expect_status(&f, AQD_CLOSED);
    aqd_put32(f.ring + AQD_RING_STATE, 2);
    expect_status(&f, AQD_EMPTY); /* a state that nobody knows is not the end */
    fixture_free(&f);
}

static void positions_wrap_at_two_to_the_32(void)
{
    struct fixture f;
    fixture_make(&f, 16, UINT32_MAX - 20);
    unsigned char payload[100];
    memset(payload, 'x', sizeof payload);
    for (uint64_t seq = 0; seq < 40; seq++) {
        writer_data(&f.w, 0, payload, 100);
        writer_publish(&f.w);
        expect_record(&f, seq, payload, 100);
        aqd_reader_release(&f.r);
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), f.w.tail);
    }
    CHECK(f.w.tail < 1000);
    CHECK(f.r.position > UINT32_MAX);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 0);
    fixture_free(&f);
}

static void what_is_not_released_comes_again(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "a", 1);
    writer_data(&f.w, 0, "b", 1);
    writer_publish(&f.w);
    expect_record(&f, 0, "a", 1);
    CHECK(!aqd_reader_release(&f.r));
    expect_record(&f, 1, "b", 1);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    expect_record(&f, 1, "b", 1);
    fixture_free(&f);
}

static void each_number_of_space_wanted_is_answered_once(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    CHECK(!aqd_reader_release(&f.r));
    aqd_put32(f.ring + AQD_RING_SPACE_WANTED, 7);
    CHECK(aqd_reader_release(&f.r));
    CHECK(!aqd_reader_release(&f.r));
    aqd_put32(f.ring + AQD_RING_SPACE_WANTED, 8);
    CHECK(aqd_reader_release(&f.r));
    aqd_put32(f.ring + AQD_RING_SPACE_WANTED, 0);
    CHECK(!aqd_reader_release(&f.r));
    fixture_free(&f);
}

static void a_sleep_names_the_tail_it_sleeps_on_and_ends_with_zero(void)
{
    struct fixture f;
    fixture_make(&f, 16, 5);
    uint32_t tail = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, &tail));
        CHECK_EQ(tail, 5);
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), AQD_WAITING_SOCKET + 4 * 5);
        aqd_reader_finish_sleep(&f.r, true);
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), 0);
    }
    CHECK(aqd_reader_prepare_sleep(&f.r, AQD_WAITING_FUTEX, NULL));
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), AQD_WAITING_FUTEX + 4 * 5);
    CHECK_EQ(fixture_attach(&f), AQD_OK); /* the next reader on this page is awake */
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), 0);
    CHECK_EQ(aqd_reader_get_stats(&f.r)->missed_wakes, 0);
    fixture_free(&f);
    fixture_make(&f, 16, 0xfffffffdu); /* of a position, the low 30 bits count */
    CHECK(aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, &tail));
    CHECK_EQ(tail, 0xfffffffdu);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), (0xfffffffdu << 2) + AQD_WAITING_SOCKET);
    fixture_free(&f);
}

static void nobody_sleeps_while_there_is_something_to_read(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "a", 1);
    writer_data(&f.w, 0, "b", 1);
    CHECK(!aqd_reader_ready(&f.r));
    writer_publish(&f.w);
    CHECK(aqd_reader_ready(&f.r));
    CHECK(!aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, NULL)); /* a tail not yet adopted */
    expect_record(&f, 0, "a", 1);
    CHECK(aqd_reader_ready(&f.r));
    CHECK(!aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, NULL)); /* adopted and not used up */
    expect_record(&f, 1, "b", 1);
    CHECK(!aqd_reader_ready(&f.r));
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), 0);
    fixture_free(&f);
}

static void a_timeout_with_data_there_is_a_missed_wake(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    aqd_put32(f.cursor + AQD_CURSOR_MISSED_WAKES, UINT32_MAX);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    CHECK(aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, NULL));
    writer_data(&f.w, 0, "a", 1);
    writer_publish(&f.w);
    aqd_reader_finish_sleep(&f.r, false);
    CHECK(aqd_reader_ready(&f.r));
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_MISSED_WAKES), UINT32_MAX);
    aqd_reader_finish_sleep(&f.r, true);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_MISSED_WAKES), 0); /* wrapped */
    CHECK_EQ(aqd_reader_get_stats(&f.r)->missed_wakes, 0);
    fixture_free(&f);
}

static void a_tail_out_of_range_is_no_reason_to_sleep(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    f.w.tail = 17;
    writer_publish(&f.w);
    CHECK(!aqd_reader_prepare_sleep(&f.r, AQD_WAITING_SOCKET, NULL));
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), 0);
    aqd_reader_finish_sleep(&f.r, true);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_MISSED_WAKES), 0);
    CHECK(aqd_reader_ready(&f.r));
    expect_status(&f, AQD_ERR_TAIL);
    fixture_free(&f);
}

static void a_view_lends_the_payload_in_place_until_the_release(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 3, "first", 5);
    writer_data(&f.w, 4, "second", 6);
    writer_publish(&f.w);
    const void *first, *second;
    aqd_record rec;
    CHECK_EQ(aqd_reader_view(&f.r, &first, &rec), AQD_OK);
    CHECK_EQ(rec.type_tag, 3);
    CHECK_EQ((uintptr_t)first % 32, 0);
    CHECK_EQ(aqd_reader_view(&f.r, &second, &rec), AQD_OK);
    CHECK(memcmp(first, "first", 5) == 0);
    CHECK(memcmp(second, "second", 6) == 0);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), 0);
    aqd_reader_release(&f.r);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), 4);
    CHECK_EQ(aqd_reader_view(&f.r, &first, &rec), AQD_EMPTY);
    fixture_free(&f);
}

int main(void)
{
    RUN(records_come_in_order_with_their_fields);
    RUN(every_length_up_to_the_largest_wraps_correctly_into_any_buffer_alignment);
    RUN(pads_discards_and_unknown_kinds_are_skipped);
    RUN(a_discard_may_be_longer_than_the_largest_payload);
    RUN(a_short_buffer_consumes_nothing);
    RUN(a_buffer_one_byte_too_short_for_a_long_record_consumes_nothing);
    RUN(a_gap_is_reported_once_and_then_the_record_comes);
    RUN(a_gap_before_a_long_record_is_reported_once);
    RUN(a_gap_backwards_loses_nothing);
    RUN(a_tail_beyond_the_capacity_is_out_of_range_and_nothing_moves);
    RUN(a_closed_ring_ends_after_its_last_record);
    RUN(a_producer_killed_between_state_and_tail_has_closed);
    RUN(positions_wrap_at_two_to_the_32);
    RUN(what_is_not_released_comes_again);
    RUN(each_number_of_space_wanted_is_answered_once);
    RUN(a_sleep_names_the_tail_it_sleeps_on_and_ends_with_zero);
    RUN(nobody_sleeps_while_there_is_something_to_read);
    RUN(a_timeout_with_data_there_is_a_missed_wake);
    RUN(a_tail_out_of_range_is_no_reason_to_sleep);
    RUN(a_view_lends_the_payload_in_place_until_the_release);
    return finish_tests();
}
