/* Records with attributes: delivered by every call, refused where they are wrong, and read without
 * trust. */
#include "aqueduct/attributes.h"
#include "aqueduct/observer.h"
#include "fixture.h"

/* Five bytes of payload and the block of the ABI's worked example. */
static const char RECORD[] = "hello"
                             "\x13\0\x02\0\x05\x03\0:path/v1\x01\0\0a\0\0\0\0\0\0\0\0\0\0\0\0";
#define RECORD_BYTES (5 + 32)
_Static_assert(sizeof RECORD == RECORD_BYTES, "the last zero is the compiler's");

static void expect_attributes(const aqd_record *rec, const void *payload)
{
    CHECK_EQ(rec->len, 5);
    CHECK_EQ(rec->flags, 0);
    CHECK_EQ(rec->attribute_units, 2);
    CHECK_EQ(aqd_record_bytes(rec), RECORD_BYTES);
    CHECK(memcmp(payload, "hello", 5) == 0);
    uint32_t bytes = 99;
    const void *path = aqd_attribute(rec, payload, AQD_ATTRIBUTE_PATH, &bytes);
    CHECK(path && bytes == 3 && memcmp(path, "/v1", 3) == 0);
    CHECK(aqd_attribute(rec, payload, AQD_ATTRIBUTE_PATH, NULL) == path);
    CHECK(aqd_attribute(rec, payload, "a", &bytes) != NULL && bytes == 0);
    bytes = 99;
    CHECK(aqd_attribute(rec, payload, ":pat", &bytes) == NULL && bytes == 0);
    CHECK(aqd_attribute(rec, payload, ":path1", NULL) == NULL && aqd_attribute(rec, payload, "", NULL) == NULL);
    uint32_t at = 0;
    aqd_named_value one;
    CHECK(aqd_next_attribute(rec, payload, &at, &one) && one.name_bytes == 5 && one.value_bytes == 3 && one.value == path);
    CHECK(aqd_next_attribute(rec, payload, &at, &one) && one.name_bytes == 1 && *(const char *)one.name == 'a' && one.value_bytes == 0);
    CHECK(!aqd_next_attribute(rec, payload, &at, &one) && !aqd_next_attribute(rec, payload, &at, &one));
}

static void every_call_delivers_payload_and_attributes(void)
{
    struct fixture f;
    fixture_make(&f, 64, 0);
    for (int i = 0; i < 6; i++) {
        writer_attributed(&f.w, 7, RECORD, RECORD_BYTES, 2);
    }
    writer_data(&f.w, 7, "plain", 5);
    writer_publish(&f.w);
    unsigned char buf[256];
    const void *payload;
    aqd_record rec;
    aqd_item items[4];
    size_t n;
    CHECK_EQ(aqd_reader_next(&f.r, buf, sizeof buf, &rec), AQD_OK);
    expect_attributes(&rec, buf);
    CHECK_EQ(aqd_reader_peek(&f.r, &rec), AQD_OK);
    CHECK(rec.len == 5 && rec.attribute_units == 2);
    CHECK_EQ(aqd_reader_view(&f.r, &payload, &rec), AQD_OK);
    expect_attributes(&rec, payload);
    CHECK_EQ(aqd_reader_skip(&f.r, &rec), AQD_OK);
    CHECK_EQ(rec.seq, 2);
    CHECK_EQ(aqd_reader_next_batch(&f.r, buf, sizeof buf, items, 4, &n), AQD_OK);
    CHECK_EQ(n, 4);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(items[i].record.seq, 3 + i);
        expect_attributes(&items[i].record, items[i].payload);
    }
    CHECK(items[3].record.attribute_units == 0 && memcmp(items[3].payload, "plain", 5) == 0);
    CHECK(aqd_attribute(&items[3].record, items[3].payload, "a", NULL) == NULL);
    CHECK_EQ(aqd_record_bytes(&items[3].record), 5);

    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    CHECK_EQ(aqd_observer_next(&o, buf, sizeof buf, &rec), AQD_OK);
    expect_attributes(&rec, buf);
    CHECK_EQ(aqd_observer_seek(&o, EPOCH, 5), AQD_OK);
    CHECK_EQ(aqd_observer_next(&o, buf, sizeof buf, &rec), AQD_OK);
    CHECK_EQ(rec.seq, 5);
    fixture_free(&f);
}

static void a_buffer_too_short_for_both_is_told_how_much_is_needed(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    writer_attributed(&f.w, 7, RECORD, RECORD_BYTES, 2);
    writer_publish(&f.w);
    unsigned char buf[64];
    aqd_observer o;
    CHECK_EQ(aqd_observer_init(&o, f.ring, f.ring_bytes), AQD_OK);
    for (size_t cap = 0; cap < RECORD_BYTES; cap++) {
        aqd_record rec;
        CHECK_EQ(aqd_reader_next(&f.r, buf, cap, &rec), AQD_ERR_SPACE);
        CHECK(rec.len == RECORD_BYTES && rec.attribute_units == 0);
        CHECK_EQ(aqd_observer_next(&o, buf, cap, &rec), AQD_ERR_SPACE);
        CHECK(rec.len == RECORD_BYTES && rec.attribute_units == 0);
    }
    aqd_record rec;
    CHECK_EQ(aqd_reader_next(&f.r, buf, RECORD_BYTES, &rec), AQD_OK);
    expect_attributes(&rec, buf);
    fixture_free(&f);
}

static void a_block_longer_than_the_record_is_no_valid_header(void)
{
    for (unsigned units = 0; units <= 255; units++) {
        struct fixture f;
        fixture_make(&f, 16, 0);
        writer_attributed(&f.w, 7, RECORD, RECORD_BYTES, (uint8_t)units);
        writer_data(&f.w, 7, "next", 4);
        writer_publish(&f.w);
        unsigned char buf[64];
        aqd_record rec;
        aqd_status status = aqd_reader_next(&f.r, buf, sizeof buf, &rec);
        CHECK_EQ(status, units * 16 <= RECORD_BYTES ? AQD_OK : AQD_ERR_HEADER);
        CHECK(status != AQD_OK || (rec.attribute_units == units && aqd_record_bytes(&rec) == RECORD_BYTES));
        expect_record(&f, 1, "next", 4);
        fixture_free(&f);
    }
}

static void a_damaged_bit_in_the_attributes_is_a_damaged_payload(void)
{
    for (uint32_t bit = 0; bit < RECORD_BYTES * 8; bit++) {
        struct fixture f;
        fixture_make(&f, 16, 0);
        uint32_t position = writer_attributed(&f.w, 7, RECORD, RECORD_BYTES, 2);
        writer_at(&f.w, position)[32 + bit / 8] ^= (unsigned char)(1u << bit % 8);
        writer_publish(&f.w);
        expect_status(&f, AQD_ERR_PAYLOAD);
        CHECK_EQ(aqd_reader_get_stats(&f.r)->lost, 1);
        fixture_free(&f);
    }
}

/* Every byte of a block, and then random ones; the memory ends where the block does, for
 * AddressSanitizer. */
static void hostile_blocks_are_walked_within_their_bytes(void)
{
    uint64_t random = 11, walked = 0, refused = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        uint32_t units = (uint32_t)(next_random(&random) % 4), bytes = units * 16, len = (uint32_t)(next_random(&random) % 3);
        unsigned char *payload = malloc(len + bytes + (len + bytes == 0));
        if (!payload) {
            abort();
        }
        for (uint32_t i = 0; i < len + bytes; i++) {
            uint64_t r = next_random(&random);
            payload[i] = (unsigned char)(r % 4 == 0 ? r >> 8 : r >> 8 & 7);
        }
        if (bytes > 0 && round % 2 == 0) {
            memcpy(payload + len, RECORD + 5, bytes < 32 ? bytes : 32);
            payload[len + next_random(&random) % bytes] = (unsigned char)next_random(&random);
        }
        aqd_record rec = {.len = len, .attribute_units = (uint8_t)units};
        uint32_t at = 0, count = 0, end = 0;
        aqd_named_value one;
        while (aqd_next_attribute(&rec, payload, &at, &one)) {
            uint32_t begin = (uint32_t)((const unsigned char *)one.name - payload);
            CHECK(begin >= end + (count == 0 ? len + 4 : 0) + 3 && one.name_bytes >= 1);
            CHECK((const unsigned char *)one.value == payload + begin + one.name_bytes);
            end = begin + one.name_bytes + one.value_bytes;
            CHECK(end <= len + bytes);
            count++;
        }
        CHECK(count <= bytes / 4);
        walked += count > 0;
        refused += bytes > 0 && count == 0;
        uint32_t found = 1;
        CHECK(aqd_attribute(&rec, payload, ":path", &found) != NULL || found == 0);
        uint32_t anywhere = (uint32_t)next_random(&random);
        CHECK(!aqd_next_attribute(&rec, payload, &anywhere, &one) || one.name_bytes > 0);
        free(payload);
    }
    CHECK(walked > 1000 && refused > 1000);
}

/* ABI 3.1: the walk stops at count entries, or at the first that has no name or does not end within
 * used; none if used is not in its range. The memory ends where the block does. */
static void the_walk_stops_where_the_specification_says(void)
{
    static const struct {
        const char *block;
        uint32_t entries;
        const char *what;
    } cases[] = {
        {"\x10\0\1\0\2\7\0nnvvvvvvv", 1, "an entry that ends with the block"},
        {"\x11\0\1\0\2\7\0nnvvvvvvv", 0, "used beyond the block"},
        {"\x0f\0\1\0\2\7\0nnvvvvvvv", 0, "an entry that ends a byte beyond used"},
        {"\x0a\0\1\0\2\7\0nnvvvvvvv", 0, "a value six bytes too long"},
        {"\x0c\0\1\0\2\7\0nnvvvvvvv", 0, "a value as much too long as twice the name"},
        {"\x10\0\1\0\2\1\0nnv\2\1\0nnv", 1, "more entries than count"},
        {"\x10\0\2\0\2\1\0nnv\2\1\0nnv", 2, "as many as count"},
        {"\x10\0\3\0\2\1\0nnv\2\1\0nnv", 2, "fewer than count"},
        {"\x10\0\0\0\2\1\0nnv\2\1\0nnv", 0, "count is 0"},
        {"\x10\0\2\0\0\1\0vvv\2\1\0nnv", 0, "no name"},
        {"\x0f\0\2\0\2\1\0nnv\2\1\0nnv", 1, "the second does not end within used"},
        {"\4\0\1\0\1\0\0nnvvvvvvvv", 0, "used is the head alone"},
        {"\x10\0\1\0\x0a\0\0nnnnnnnnn", 0, "a name a byte beyond used"},
        {"\x10\0\1\0\x09\0\0nnnnnnnnn", 1, "a name that ends with the block"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char *payload = malloc(16);
        if (!payload) {
            abort();
        }
        memcpy(payload, cases[i].block, 16);
        aqd_record rec = {.attribute_units = 1};
        aqd_named_value one;
        uint32_t at = 0, entries = 0;
        while (aqd_next_attribute(&rec, payload, &at, &one)) {
            entries++;
        }
        if (entries != cases[i].entries) {
            printf("  %s\n", cases[i].what);
        }
        CHECK_EQ(entries, cases[i].entries);
        CHECK(aqd_attribute(&rec, payload, "nnnnnnnnnn", NULL) == NULL); /* a byte more than there can be */
        free(payload);
    }
}

/* A name is a string here and bytes there. */
static void a_name_with_zeros_in_it_is_not_the_string_before_them(void)
{
    static const char block[] = "\x10\0\2\0\3\1\0n\0m1\1\1\0\1" "2";
    _Static_assert(sizeof block == 17, "a unit and the compiler's zero");
    aqd_record rec = {.attribute_units = 1};
    uint32_t bytes;
    CHECK(aqd_attribute(&rec, block, "n\0m", &bytes) == NULL && bytes == 0);
    const char *second = aqd_attribute(&rec, block, "\1", &bytes);
    CHECK(second && bytes == 1 && *second == '2');
}

int main(void)
{
    RUN(the_walk_stops_where_the_specification_says);
    RUN(a_name_with_zeros_in_it_is_not_the_string_before_them);
    RUN(every_call_delivers_payload_and_attributes);
    RUN(a_buffer_too_short_for_both_is_told_how_much_is_needed);
    RUN(a_block_longer_than_the_record_is_no_valid_header);
    RUN(a_damaged_bit_in_the_attributes_is_a_damaged_payload);
    RUN(hostile_blocks_are_walked_within_their_bytes);
    return finish_tests();
}
