/* Peeking, skipping and batches over memory: what they deliver, where they stop, and what they
 * leave for the next call. */
#include "fixture.h"

static void a_peek_describes_and_leaves_the_record(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    aqd_record rec = {0};
    CHECK_EQ(aqd_reader_peek(&f.r, &rec), AQD_EMPTY);
    writer_data(&f.w, 7, "hello", 5);
    writer_data(&f.w, 8, "", 0);
    writer_publish(&f.w);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(aqd_reader_peek(&f.r, &rec), AQD_OK);
        CHECK(rec.seq == 0 && rec.len == 5 && rec.type_tag == 7);
    }
    expect_record(&f, 0, "hello", 5);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(aqd_reader_peek(&f.r, &rec), AQD_OK);
        CHECK(rec.seq == 1 && rec.len == 0 && rec.type_tag == 8);
    }
    expect_record(&f, 1, "", 0);
    writer_close(&f.w);
    CHECK_EQ(aqd_reader_peek(&f.r, &rec), AQD_CLOSED);
    fixture_free(&f);
}

static void skipped_records_count_as_read_and_their_payload_is_not_looked_at(void)
{
    struct fixture f;
    fixture_make(&f, 32, UINT32_MAX - 3);
    char large[100] = {1};
    for (int i = 0; i < 3; i++) {
        uint32_t at = writer_data(&f.w, 0, large, sizeof large);
        writer_at(&f.w, at)[32 + 50] ^= 1; /* damaged */
    }
    writer_data(&f.w, 0, "", 0);
    writer_data(&f.w, 0, "last", 4);
    writer_publish(&f.w);
    aqd_record rec = {0};
    for (uint64_t seq = 0; seq < 4; seq++) {
        CHECK_EQ(aqd_reader_skip(&f.r, &rec), AQD_OK);
        CHECK_EQ(rec.seq, seq);
    }
    expect_record(&f, 4, "last", 4);
    CHECK_EQ(aqd_reader_skip(&f.r, &rec), AQD_EMPTY);
    CHECK_EQ(aqd_reader_get_stats(&f.r)->corrupt, 0);
    aqd_reader_release(&f.r);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), f.w.tail);
    fixture_free(&f);
}

/* The CRC of nothing is 0, and whoever does not look at the payload does not see that the header
 * says otherwise. */
static void an_empty_record_with_a_wrong_crc_is_described_and_skipped_like_others(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    for (int i = 0; i < 3; i++) {
        uint32_t at = writer_data(&f.w, 0, "", 0);
        aqd_put32(writer_at(&f.w, at) + 24, 5);
        writer_seal_record(&f.w, at);
    }
    writer_publish(&f.w);
    aqd_record rec = {0};
    CHECK_EQ(aqd_reader_seek(&f.r, EPOCH, 1), AQD_OK);
    CHECK_EQ(aqd_reader_peek(&f.r, &rec), AQD_OK);
    CHECK(rec.seq == 1 && rec.len == 0);
    CHECK_EQ(aqd_reader_skip(&f.r, &rec), AQD_OK);
    CHECK_EQ(rec.seq, 1);
    CHECK_EQ(aqd_reader_get_stats(&f.r)->corrupt, 0);
    expect_status(&f, AQD_ERR_PAYLOAD);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 2);
    CHECK_EQ(aqd_reader_get_stats(&f.r)->corrupt, 1);
    fixture_free(&f);
}

static void a_batch_takes_what_is_there_and_stores_no_cursor(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    aqd_item items[8];
    _Alignas(8) unsigned char buf[256];
    size_t n = 99;
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, sizeof buf, items, 8, &n), AQD_EMPTY);
    CHECK_EQ(n, 0);
    static const char *const texts[] = {"one", "", "three and more", "four"};
    for (size_t i = 0; i < 4; i++) {
        writer_data(&f.w, (uint16_t)i, texts[i], (uint32_t)strlen(texts[i]));
    }
    writer_publish(&f.w);
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, sizeof buf, items, 8, &n), AQD_OK);
    CHECK_EQ(n, 4);
    for (size_t i = 0; i < 4 && n == 4; i++) {
        CHECK(items[i].record.seq == i && items[i].record.type_tag == i && items[i].record.len == strlen(texts[i]));
        CHECK(memcmp(items[i].payload, texts[i], strlen(texts[i])) == 0);
        CHECK_EQ((uintptr_t)items[i].payload % AQD_BATCH_ALIGN_BYTES, 0);
    }
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), 0);
    aqd_reader_release(&f.r);
    CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), f.w.tail);
    fixture_free(&f);
}

static void a_batch_ends_at_its_limits_and_loses_nothing(void)
{
    for (size_t max = 1; max <= 4; max++) {
        for (size_t cap = 10; cap < 40; cap++) {
            struct fixture f;
            fixture_make(&f, 64, 0);
            for (int i = 0; i < 10; i++) {
                writer_data(&f.w, 0, "0123456789", (uint32_t)i + 1);
            }
            writer_publish(&f.w);
            writer_close(&f.w);
            aqd_item items[4];
            unsigned char buf[64];
            memset(buf, 0xEE, sizeof buf);
            uint64_t seq = 0;
            size_t n;
            aqd_status status;
            while ((status = aqd_reader_next_batch(&f.r, buf, cap, items, max, &n)) == AQD_OK && n > 0) {
                CHECK(n <= max);
                for (size_t i = 0; i < n; i++, seq++) {
                    CHECK_EQ(items[i].record.seq, seq);
                    CHECK(memcmp(items[i].payload, "0123456789", items[i].record.len) == 0);
                }
                CHECK_EQ(buf[cap], 0xEE);
            }
            CHECK_EQ(status, AQD_CLOSED);
            CHECK_EQ(seq, 10);
            fixture_free(&f);
        }
    }
}

static void a_batch_without_room_for_one_says_so_and_consumes_nothing(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_data(&f.w, 0, "hello", 5);
    writer_publish(&f.w);
    aqd_item items[2];
    unsigned char buf[8];
    size_t n = 9;
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, 4, items, 2, &n), AQD_ERR_SPACE);
    CHECK_EQ(n, 0);
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, 5, items, 2, &n), AQD_OK);
    CHECK_EQ(n, 1);
    fixture_free(&f);
}

static void damage_behind_good_records_is_told_with_them(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    writer_data(&f.w, 0, "one", 3);
    writer_data(&f.w, 0, "two", 3);
    writer_at(&f.w, writer_data(&f.w, 0, "bad", 3))[32] ^= 1;
    writer_data(&f.w, 0, "four", 4);
    f.w.seq = 9;
    writer_data(&f.w, 0, "ten", 3);
    writer_publish(&f.w);
    aqd_item items[8];
    unsigned char buf[256];
    size_t n;
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, sizeof buf, items, 8, &n), AQD_ERR_PAYLOAD);
    CHECK_EQ(n, 2);
    CHECK_EQ(aqd_reader_get_evidence(&f.r)->found_seq, 2);
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, sizeof buf, items, 8, &n), AQD_ERR_GAP);
    CHECK_EQ(n, 1);
    CHECK_EQ(items[0].record.seq, 3);
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, sizeof buf, items, 8, &n), AQD_OK);
    CHECK(n == 1 && items[0].record.seq == 9);
    fixture_free(&f);
}

/* On random bytes with valid headers strewn in, every call stays within its buffers and the ring,
 * and comes to an end. */
static void random_bytes_never_mislead_a_batch(void)
{
    uint64_t random = 77;
    for (int round = 0; round < 2000; round++) {
        struct fixture f;
        uint32_t capacity = UINT32_C(4) << next_random(&random) % 5, start = (uint32_t)next_random(&random);
        fixture_make(&f, capacity, start);
        for (uint32_t i = 0; i < capacity && next_random(&random) % 8 != 0; i++) {
            uint32_t room = (capacity - 1 - (f.w.tail & (capacity - 1))) * 32, len = (uint32_t)(next_random(&random) % 70);
            unsigned char payload[70];
            memset(payload, (int)i, sizeof payload);
            if (f.w.tail - start + 4 > capacity) {
                break;
            }
            writer_raw(&f.w, (uint8_t)(next_random(&random) % 4), 0, f.w.seq++, 0, payload, len < room ? len : room);
        }
        writer_publish(&f.w);
        for (int i = 0; i < 3; i++) {
            f.ring[OFFSET + next_random(&random) % (f.ring_bytes - OFFSET)] ^= (unsigned char)next_random(&random);
        }
        aqd_item items[5];
        unsigned char *buf = malloc(100);
        size_t n, calls = 0;
        aqd_status status = AQD_OK;
        aqd_record rec;
        while (status != AQD_EMPTY && status != AQD_ERR_TAIL && calls++ < 200) {
            size_t cap = 40 + (size_t)(next_random(&random) % 61);
            switch (next_random(&random) % 3) {
            case 0: status = aqd_reader_peek(&f.r, &rec); break;
            case 1: status = aqd_reader_skip(&f.r, &rec); break;
            default:
                status = aqd_reader_next_batch(&f.r, buf, cap, items, 5, &n);
                CHECK(n <= 5);
                for (size_t i = 0; i < n; i++) {
                    const unsigned char *at = items[i].payload;
                    CHECK(at >= buf && at + items[i].record.len <= buf + cap);
                }
                if (status == AQD_ERR_SPACE) {
                    aqd_reader_skip(&f.r, &rec);
                }
            }
            CHECK(f.r.tail - f.r.position <= capacity);
        }
        CHECK(calls < 200);
        free(buf);
        fixture_free(&f);
    }
}

int main(void)
{
    RUN(a_peek_describes_and_leaves_the_record);
    RUN(skipped_records_count_as_read_and_their_payload_is_not_looked_at);
    RUN(an_empty_record_with_a_wrong_crc_is_described_and_skipped_like_others);
    RUN(a_batch_takes_what_is_there_and_stores_no_cursor);
    RUN(a_batch_ends_at_its_limits_and_loses_nothing);
    RUN(a_batch_without_room_for_one_says_so_and_consumes_nothing);
    RUN(damage_behind_good_records_is_told_with_them);
    RUN(random_bytes_never_mislead_a_batch);
    return finish_tests();
}
