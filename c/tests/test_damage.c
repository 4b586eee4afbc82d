/* The reader on a ring in which something was damaged: everything is noticed, counted, and the next
 * good record found. */
#include "fixture.h"

/* Three records of 40 bytes (3 granules) at positions 0, 3 and 6; the middle one is the victim. */
static const char payload_a[40] = "first", payload_b[40] = "second, the victim", payload_c[40] = "third";

static void make_three(struct fixture *f)
{
    fixture_make(f, 16, 0);
    writer_data(&f->w, 1, payload_a, 40);
    writer_data(&f->w, 2, payload_b, 40);
    writer_data(&f->w, 3, payload_c, 40);
    writer_publish(&f->w);
}

static void every_flipped_bit_of_a_header_is_detected_and_survived(void)
{
    for (unsigned bit = 0; bit < 256; bit++) {
        struct fixture f;
        make_three(&f);
        writer_at(&f.w, 3)[bit / 8] ^= (unsigned char)(1 << bit % 8);
        expect_record(&f, 0, payload_a, 40);
        expect_status(&f, AQD_ERR_HEADER);
        const aqd_evidence *e = aqd_reader_get_evidence(&f.r);
        CHECK_EQ(e->position, 3);
        CHECK_EQ(e->resumed, 6);
        CHECK(e->stored_crc != e->computed_crc);
        expect_record(&f, 2, payload_c, 40);
        expect_status(&f, AQD_EMPTY);
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 1);
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 1);
        fixture_free(&f);
    }
}

static void every_flipped_bit_of_a_payload_is_detected_and_survived(void)
{
    for (unsigned bit = 0; bit < 40 * 8; bit++) {
        for (int in_place = 0; in_place < 2; in_place++) {
            struct fixture f;
            make_three(&f);
            writer_at(&f.w, 4)[bit / 8] ^= (unsigned char)(1 << bit % 8);
            expect_record(&f, 0, payload_a, 40);
            char buf[40];
            const void *payload;
            aqd_record rec = {0};
            CHECK_EQ(in_place ? aqd_reader_view(&f.r, &payload, &rec) : aqd_reader_next(&f.r, buf, 40, &rec), AQD_ERR_PAYLOAD);
            CHECK_EQ(rec.seq, 1);
            CHECK_EQ(rec.type_tag, 2);
            const aqd_evidence *e = aqd_reader_get_evidence(&f.r);
            CHECK_EQ(e->found_seq, 1);
            CHECK_EQ(e->position, 3);
            CHECK_EQ(e->stored_crc, oracle_crc32(payload_b, 40));
            CHECK(e->computed_crc != e->stored_crc);
            expect_record(&f, 2, payload_c, 40);
            CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 1);
            CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 1);
            fixture_free(&f);
        }
    }
}

/* The same for a record that is expected and not short, which is taken in one go if nothing is
 * wrong: three records, of which the middle one has len bytes and stands at position 2. */
static unsigned char long_payload[1024];

static void make_long(struct fixture *f, uint32_t len)
{
    for (size_t i = 0; i < sizeof long_payload; i++) {
        long_payload[i] = (unsigned char)(i * 7 + i / 256);
    }
    fixture_make(f, 64, 0);
    writer_data(&f->w, 1, "a", 1);
    writer_data(&f->w, 2, long_payload, len);
    writer_data(&f->w, 3, "c", 1);
    writer_publish(&f->w);
}

static void every_flipped_bit_of_a_long_record_is_detected_and_survived(void)
{
    static const uint32_t lens[] = {64, 65, 95, 96, 127, 128, 150, 191, 256, 300};
    for (size_t k = 0; k < sizeof lens / sizeof *lens; k++) {
        uint32_t len = lens[k], behind = 3 + (len + 31) / 32;
        for (unsigned bit = 0; bit < (32 + len) * 8; bit++) {
            struct fixture f;
            make_long(&f, len);
            unsigned char *damaged = writer_at(&f.w, 2) + bit / 8, buf[300];
            uint32_t tail = f.w.tail;
            *damaged ^= (unsigned char)(1 << bit % 8);
            expect_record(&f, 0, "a", 1);
            aqd_record rec = {0};
            CHECK_EQ(aqd_reader_next(&f.r, buf, sizeof buf, &rec), bit < 256 ? AQD_ERR_HEADER : AQD_ERR_PAYLOAD);
            const aqd_evidence *e = aqd_reader_get_evidence(&f.r);
            CHECK_EQ(e->position, 2);
            CHECK_EQ(e->resumed, behind);
            CHECK_EQ(e->tail, tail);
            CHECK_EQ(e->expected_seq, 1);
            if (bit < 256) {
                CHECK_EQ(e->found_seq, 2);
                CHECK(e->stored_crc != e->computed_crc);
                CHECK_EQ(rec.len, 0);
            } else {
                CHECK_EQ(e->found_seq, 1);
                CHECK_EQ(e->stored_crc, oracle_crc32(long_payload, len));
                CHECK_EQ(e->computed_crc, oracle_crc32(writer_at(&f.w, 3), len));
                CHECK_EQ(rec.seq, 1);
                CHECK_EQ(rec.type_tag, 2);
                CHECK_EQ(rec.len, len);
            }
            expect_record(&f, 2, "c", 1);
            CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 1);
            CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 1);
            fixture_free(&f);
        }
    }
}

static void padding_behind_a_payload_is_not_checked(void)
{
    struct fixture f;
    make_three(&f);
    writer_at(&f.w, 5)[8] ^= 1; /* byte 40 of the payload's granules */
    expect_record(&f, 0, payload_a, 40);
    expect_record(&f, 1, payload_b, 40);
    fixture_free(&f);
}

static void a_damaged_first_header_loses_an_unknown_number(void)
{
    struct fixture f;
    make_three(&f);
    *writer_at(&f.w, 0) ^= 1;
    expect_status(&f, AQD_ERR_HEADER);
    expect_record(&f, 1, payload_b, 40);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 1);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 0);
    fixture_free(&f);
}

static void after_damage_up_to_the_tail_the_gap_tells_the_loss(void)
{
    struct fixture f;
    make_three(&f);
    *writer_at(&f.w, 3) ^= 1;
    *writer_at(&f.w, 6) ^= 1;
    expect_record(&f, 0, payload_a, 40);
    expect_status(&f, AQD_ERR_HEADER);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->resumed, 9);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 0);
    expect_status(&f, AQD_EMPTY);
    writer_data(&f.w, 0, "d", 1);
    writer_publish(&f.w);
    expect_status(&f, AQD_ERR_GAP);
    expect_record(&f, 3, "d", 1);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 1);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 2);
    fixture_free(&f);
}

static void reading_resumes_at_a_pad_whose_number_tells_the_loss(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, payload_a, 40);
    writer_data(&f.w, 0, payload_b, 40);
    writer_data(&f.w, 0, "", 0);
    *writer_at(&f.w, 3) ^= 1;
    *writer_at(&f.w, 6) ^= 1;
    writer_raw(&f.w, AQD_KIND_PAD, 0, f.w.seq, 0, NULL, 8 * 32);
    writer_publish(&f.w);
    expect_record(&f, 0, payload_a, 40);
    expect_status(&f, AQD_ERR_HEADER);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->resumed, 7);
    writer_data(&f.w, 0, "z", 1);
    writer_publish(&f.w);
    expect_record(&f, 3, "z", 1);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 2);
    fixture_free(&f);
}

static void a_header_of_an_earlier_lap_never_counts(void)
{
    struct fixture f;
    make_three(&f);
    expect_record(&f, 0, payload_a, 40);
    expect_record(&f, 1, payload_b, 40);
    expect_record(&f, 2, payload_c, 40);
    aqd_reader_release(&f.r);
    f.w.tail = 16 + 9; /* the same bytes, published again a lap later without being written */
    writer_publish(&f.w);
    expect_status(&f, AQD_ERR_HEADER);
    CHECK_EQ(f.r.position, 25);
    expect_status(&f, AQD_EMPTY);
    fixture_free(&f);
}

static void a_record_of_another_ring_never_counts(void)
{
    struct fixture f;
    make_three(&f);
    f.w.epoch++;
    writer_seal_record(&f.w, 0);
    expect_status(&f, AQD_ERR_HEADER);
    fixture_free(&f);
}

/* A header with a right CRC that claims len bytes at this position, with the tail one lap behind
 * the start. */
static aqd_status with_length(uint8_t kind, uint32_t position, uint32_t len, uint32_t tail, aqd_evidence *evidence)
{
    struct fixture f;
    fixture_make(&f, 16, position);
    aqd_put32(writer_at(&f.w, position), len);
    writer_at(&f.w, position)[4] = kind;
    writer_seal_record(&f.w, position);
    f.w.tail = tail;
    writer_publish(&f.w);
    unsigned char buf[512];
    aqd_record rec;
    aqd_status status = aqd_reader_next(&f.r, buf, sizeof buf, &rec);
    *evidence = *aqd_reader_get_evidence(&f.r);
    fixture_free(&f);
    return status;
}

static void an_impossible_length_is_damage_even_with_a_right_crc(void)
{
    aqd_evidence e;
    CHECK_EQ(with_length(AQD_KIND_DATA, 0, 225, 15, &e), AQD_ERR_HEADER); /* beyond max_payload */
    CHECK_EQ(e.stored_crc, e.computed_crc);
    CHECK_EQ(with_length(AQD_KIND_DATA, 0, UINT32_MAX, 15, &e), AQD_ERR_HEADER);
    CHECK_EQ(with_length(AQD_KIND_PAD, 0, UINT32_MAX, 15, &e), AQD_ERR_HEADER);
    CHECK_EQ(with_length(AQD_KIND_DATA, 0, 64, 2, &e), AQD_ERR_HEADER); /* beyond the tail */
    CHECK_EQ(with_length(AQD_KIND_DISCARD, 0, 64, 2, &e), AQD_ERR_HEADER);
    CHECK_EQ(with_length(AQD_KIND_DATA, 12, 97, 20, &e), AQD_ERR_HEADER); /* beyond the end of the data */
    CHECK_EQ(with_length(AQD_KIND_PAD, 12, 97, 20, &e), AQD_ERR_HEADER);
    CHECK_EQ(with_length(250, 12, 97, 20, &e), AQD_ERR_HEADER);
    CHECK_EQ(with_length(AQD_KIND_PAD, 12, 96, 16, &e), AQD_EMPTY); /* exactly to both is right */
    CHECK_EQ(with_length(AQD_KIND_DATA, 12, 96, 16, &e), AQD_ERR_PAYLOAD);
}

/* The same, with any length that is not short, of a record that is expected and whose payload is
 * right too. */
static aqd_status second_with_length(uint32_t start, uint32_t len, uint32_t tail, aqd_evidence *evidence)
{
    static const unsigned char zeros[1024];
    struct fixture f;
    fixture_make(&f, 64, start);
    uint32_t position = start + 2;
    writer_data(&f.w, 0, "a", 1);
    aqd_put32(writer_at(&f.w, position), len);
    writer_at(&f.w, position)[4] = AQD_KIND_DATA;
    aqd_put64(writer_at(&f.w, position) + 8, 1);
    aqd_put32(writer_at(&f.w, position) + 24, oracle_crc32(zeros, len));
    writer_seal_record(&f.w, position);
    f.w.tail = tail;
    writer_publish(&f.w);
    expect_record(&f, 0, "a", 1);
    unsigned char buf[1024];
    aqd_record rec;
    aqd_status status = aqd_reader_next(&f.r, buf, sizeof buf, &rec);
    *evidence = *aqd_reader_get_evidence(&f.r);
    CHECK_EQ(f.r.position, status == AQD_OK ? position + 1 + (len + 31) / 32 : tail);
    fixture_free(&f);
    return status;
}

static void an_impossible_length_of_an_expected_record_is_damage(void)
{
    aqd_evidence e;
    CHECK_EQ(second_with_length(0, 992, 60, &e), AQD_OK);
    CHECK_EQ(second_with_length(0, 993, 60, &e), AQD_ERR_HEADER); /* beyond max_payload */
    CHECK_EQ(e.stored_crc, e.computed_crc);
    CHECK_EQ(second_with_length(0, 128, 7, &e), AQD_OK);
    CHECK_EQ(second_with_length(0, 129, 7, &e), AQD_ERR_HEADER); /* beyond the tail */
    CHECK_EQ(e.stored_crc, e.computed_crc);
    CHECK_EQ(second_with_length(57, 128, 64, &e), AQD_OK);
    CHECK_EQ(second_with_length(57, 129, 70, &e), AQD_ERR_HEADER); /* beyond the end of the data */
    CHECK_EQ(e.stored_crc, e.computed_crc);
}

static void statistics_go_on_from_the_page_and_wrap(void)
{
    struct fixture f;
    make_three(&f);
    aqd_put32(f.cursor + AQD_CURSOR_CORRUPT, UINT32_MAX);
    aqd_put32(f.cursor + AQD_CURSOR_LOST, 10);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    *writer_at(&f.w, 4) ^= 1;
    expect_record(&f, 0, payload_a, 40);
    expect_status(&f, AQD_ERR_PAYLOAD);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CORRUPT), 0);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_LOST), 11);
    CHECK_EQ(aqd_reader_get_stats(&f.r)->lost, 11);
    fixture_free(&f);
}

int main(void)
{
    RUN(every_flipped_bit_of_a_header_is_detected_and_survived);
    RUN(every_flipped_bit_of_a_payload_is_detected_and_survived);
    RUN(every_flipped_bit_of_a_long_record_is_detected_and_survived);
    RUN(padding_behind_a_payload_is_not_checked);
    RUN(a_damaged_first_header_loses_an_unknown_number);
    RUN(after_damage_up_to_the_tail_the_gap_tells_the_loss);
    RUN(reading_resumes_at_a_pad_whose_number_tells_the_loss);
    RUN(a_header_of_an_earlier_lap_never_counts);
    RUN(a_record_of_another_ring_never_counts);
    RUN(an_impossible_length_is_damage_even_with_a_right_crc);
    RUN(an_impossible_length_of_an_expected_record_is_damage);
    RUN(statistics_go_on_from_the_page_and_wrap);
    return finish_tests();
}
