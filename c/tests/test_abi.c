/* The worked examples of ABI 5 and 6, byte by byte, and what a ring or cursor header must not
 * be. */
#include "fixture.h"

static void unhex(unsigned char *into, const char *hex)
{
    for (; *hex; hex++) {
        if (*hex != ' ') {
            unsigned value;
            sscanf(hex, "%2x", &value);
            *into++ = (unsigned char)value;
            hex++;
        }
    }
}

/* The ring of the worked examples: 16 granules, data at 4096. */
static void make_example(struct fixture *f, uint32_t start)
{
    f->ring_bytes = 4096 + 16 * AQD_GRANULE_BYTES;
    f->ring = aligned_alloc(4096, 2 * 4096);
    f->cursor = aligned_alloc(4096, 4096);
    if (!f->ring || !f->cursor) {
        abort();
    }
    writer_format(&f->w, f->ring, f->cursor, 16, 4096, EPOCH, start);
}

static void the_example_ring_header_is_accepted_and_read(void)
{
    struct fixture f;
    make_example(&f, 0);
    unsigned char bytes[128] = {0};
    unhex(bytes, "4151554544554354 0100 0000 00100000 efcdab8967452301 00002a36fe9c9717 10000000 e0000000 00000000 00000000 64656d6f");
    aqd_put32(bytes + 124, UINT32_C(0x6E70E6A8));
    CHECK(memcmp(bytes, f.ring, 128) == 0); /* the test writer agrees with the specification */
    memcpy(f.ring, bytes, 128);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    const aqd_ring_info *info = aqd_reader_get_info(&f.r);
    CHECK_EQ(info->epoch, EPOCH);
    CHECK_EQ(info->created_ns, UINT64_C(1700000000000000000));
    CHECK_EQ(info->capacity, 16);
    CHECK_EQ(info->max_payload, 224);
    CHECK_EQ(info->clock_id, AQD_CLOCK_REALTIME);
    CHECK(strcmp(info->name, "demo") == 0);
    fixture_free(&f);
}

static void the_example_cursor_identity_is_accepted(void)
{
    struct fixture f;
    make_example(&f, 0);
    unsigned char bytes[64] = {0};
    unhex(bytes, "4151444355525352 0100 0000 00000000 efcdab8967452301 7461696c");
    aqd_put32(bytes + 60, UINT32_C(0xBD7DF7AB));
    CHECK(memcmp(bytes, f.cursor, 64) == 0);
    memcpy(f.cursor, bytes, 64);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    fixture_free(&f);
}

static void the_example_data_record_is_read(void)
{
    struct fixture f;
    make_example(&f, 2);
    unhex(writer_at(&f.w, 2), "10000000 01 00 0700 2900000000000000 15cd853dfe9c9717 d7f6e360 6a475e35 68656c6c6f2c2061717565647563740a");
    f.w.tail = 4;
    writer_publish(&f.w);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    char buf[224];
    aqd_record rec;
    CHECK_EQ(aqd_reader_next(&f.r, buf, sizeof buf, &rec), AQD_OK);
    CHECK_EQ(rec.seq, 41);
    CHECK_EQ(rec.type_tag, 7);
    CHECK_EQ(rec.len, 16);
    CHECK_EQ(rec.timestamp_ns, UINT64_C(1700000000123456789));
    CHECK(memcmp(buf, "hello, aqueduct\n", 16) == 0);
    fixture_free(&f);
}

static void the_example_pad_is_skipped(void)
{
    struct fixture f;
    make_example(&f, 14);
    unhex(writer_at(&f.w, 14), "20000000 02 00 0000 2a00000000000000 0000000000000000 00000000 f1e79b1b");
    f.w.tail = 16;
    f.w.seq = 42;
    writer_data(&f.w, 0, "x", 1);
    writer_publish(&f.w);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    expect_record(&f, 42, "x", 1);
    fixture_free(&f);
}

/* Attaches with one field of the ring header replaced; sealed: with the CRC made right again. */
static aqd_status with_field(size_t at, size_t size, uint64_t value, bool sealed)
{
    struct fixture f;
    make_example(&f, 0);
    for (size_t i = 0; i < size; i++) {
        f.ring[at + i] = (unsigned char)(value >> (8 * i));
    }
    if (sealed) {
        writer_seal_header(f.ring);
    }
    aqd_status status = fixture_attach(&f);
    fixture_free(&f);
    return status;
}

static void the_smallest_ring_tells_clock_minor_and_a_name_that_fills_its_field(void)
{
    struct fixture f;
    fixture_make(&f, AQD_MIN_CAPACITY, 0);
    aqd_put16(f.ring + 10, 7);
    aqd_put32(f.ring + 40, 11);
    memset(f.ring + 48, 'n', AQD_RING_NAME_BYTES);
    writer_seal_header(f.ring);
    memset(&f.r, 255, sizeof f.r);
    CHECK_EQ(fixture_attach(&f), AQD_OK);
    const aqd_ring_info *info = aqd_reader_get_info(&f.r);
    CHECK(info->capacity == AQD_MIN_CAPACITY && info->abi_minor == 7 && info->clock_id == 11);
    CHECK(memchr(info->name, 0, sizeof info->name) == info->name + AQD_RING_NAME_BYTES);
    fixture_free(&f);
}

/* Nothing is read of what is shorter than a header: sanitizers see if it is. */
static void a_ring_shorter_than_its_header_is_not_looked_at(void)
{
    struct fixture f;
    fixture_make(&f, 16, 0);
    unsigned char *stub = aligned_alloc(64, 64);
    if (!stub) {
        abort();
    }
    memcpy(stub, f.ring, 64);
    CHECK_EQ(aqd_reader_init(&f.r, stub, 64, f.cursor, AQD_CURSOR_BYTES_MIN), AQD_ERR_SIZE);
    free(stub);
    fixture_free(&f);
}

static void every_field_of_the_ring_header_is_checked(void)
{
    CHECK_EQ(with_field(0, 1, 'a', true), AQD_ERR_MAGIC);
    CHECK_EQ(with_field(8, 2, 2, true), AQD_ERR_VERSION);
    CHECK_EQ(with_field(8, 2, 0, true), AQD_ERR_VERSION);
    CHECK_EQ(with_field(10, 2, 9, true), AQD_OK);
    CHECK_EQ(with_field(12, 4, 0, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(12, 4, 192, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(12, 4, 4096 - 32, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(12, 4, 256, true), AQD_OK);
    CHECK_EQ(with_field(12, 4, 4096 + 64, true), AQD_ERR_SIZE);
    CHECK_EQ(with_field(12, 4, UINT32_MAX - 63, true), AQD_ERR_SIZE);
    CHECK_EQ(with_field(16, 8, 0, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(32, 4, 0, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(32, 4, 2, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(32, 4, 15, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(32, 4, UINT32_C(1) << 31, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(32, 4, 8, true), AQD_ERR_GEOMETRY); /* 224 bytes are too many for it */
    CHECK_EQ(with_field(32, 4, 32, true), AQD_ERR_SIZE);
    CHECK_EQ(with_field(32, 4, UINT32_C(1) << 30, true), AQD_ERR_SIZE);
    CHECK_EQ(with_field(36, 4, 225, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(36, 4, UINT32_MAX, true), AQD_ERR_GEOMETRY);
    CHECK_EQ(with_field(36, 4, 0, true), AQD_OK);
    CHECK_EQ(with_field(40, 4, UINT32_MAX, true), AQD_OK);
    CHECK_EQ(with_field(44, 4, 1, true), AQD_OK); /* reserved */
    CHECK_EQ(with_field(48, 8, UINT64_MAX, true), AQD_OK);
    CHECK_EQ(with_field(112, 8, 1, true), AQD_OK); /* reserved */
}

static void every_flipped_bit_of_the_ring_header_is_refused(void)
{
    for (size_t bit = 0; bit < 128 * 8; bit++) {
        struct fixture f;
        make_example(&f, 0);
        f.ring[bit / 8] ^= (unsigned char)(1 << bit % 8);
        aqd_status status = fixture_attach(&f);
        CHECK_EQ(status, bit < 64 ? AQD_ERR_MAGIC : bit < 80 ? AQD_ERR_VERSION : AQD_ERR_CHECKSUM);
        fixture_free(&f);
    }
}

static void every_flipped_bit_of_the_cursor_identity_is_refused(void)
{
    for (size_t bit = 0; bit < 64 * 8; bit++) {
        struct fixture f;
        make_example(&f, 0);
        f.cursor[bit / 8] ^= (unsigned char)(1 << bit % 8);
        CHECK_EQ(fixture_attach(&f), bit >= 64 && bit < 80 ? AQD_ERR_VERSION : AQD_ERR_CURSOR);
        fixture_free(&f);
    }
}

static void a_cursor_that_says_it_is_something_else_is_refused(void)
{
    struct fixture f;
    make_example(&f, 0);
    f.cursor[3] ^= 1;
    writer_seal_identity(f.cursor);
    CHECK_EQ(fixture_attach(&f), AQD_ERR_CURSOR);
    fixture_free(&f);
}

/* Whatever was in its memory before: it goes on where the subscription stands, awake. */
static void a_new_reader_takes_up_the_counts_of_its_cursor_and_nothing_else(void)
{
    static const uint32_t wanted[] = {1, UINT32_MAX};
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        make_example(&f, 2);
        f.w.seq = 9;
        uint32_t first = writer_data(&f.w, 0, "nine", 4);
        writer_data(&f.w, 0, "ten", 3);
        writer_publish(&f.w);
        writer_at(&f.w, first)[3] ^= 1;
        aqd_put32(f.cursor + AQD_CURSOR_CORRUPT, 3);
        aqd_put32(f.cursor + AQD_CURSOR_LOST, 4);
        aqd_put32(f.cursor + AQD_CURSOR_MISSED_WAKES, 5);
        aqd_put32(f.cursor + AQD_CURSOR_WAITING, 77);
        aqd_put32(f.ring + AQD_RING_SPACE_WANTED, wanted[i]);
        memset(&f.r, 255, sizeof f.r);
        CHECK_EQ(fixture_attach(&f), AQD_OK);
        const aqd_stats *stats = aqd_reader_get_stats(&f.r);
        CHECK(stats->corrupt == 3 && stats->lost == 4 && stats->missed_wakes == 5);
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_WAITING), 0);
        const aqd_evidence *e = aqd_reader_get_evidence(&f.r);
        CHECK(e->position == 0 && e->resumed == 0 && e->expected_seq == 0 && e->found_seq == 0 && e->tail == 0);
        expect_status(&f, AQD_ERR_HEADER);
        CHECK(e->expected_seq == 0 && e->found_seq == 10);
        CHECK_EQ(stats->corrupt, 4);
        expect_record(&f, 10, "ten", 3);
        CHECK(aqd_reader_release(&f.r)); /* who waits for room is told */
        CHECK_EQ(cursor_word(&f, AQD_CURSOR_CURSOR), f.w.tail);
        /* The tail is out of range: it is a reader, and goes on when that is put right. */
        aqd_put32(f.ring + AQD_RING_TAIL, 1000);
        memset(&f.r, 255, sizeof f.r);
        CHECK_EQ(fixture_attach(&f), AQD_ERR_TAIL);
        writer_publish(&f.w);
        expect_status(&f, AQD_EMPTY);
        fixture_free(&f);
    }
}

static void a_cursor_of_another_ring_is_refused(void)
{
    struct fixture f;
    make_example(&f, 0);
    aqd_put64(f.cursor + 16, EPOCH + 1);
    writer_seal_identity(f.cursor);
    CHECK_EQ(fixture_attach(&f), AQD_ERR_CURSOR);
    fixture_free(&f);
}

static void bad_arguments_and_short_segments_are_refused(void)
{
    struct fixture f;
    make_example(&f, 0);
    CHECK_EQ(aqd_reader_init(NULL, f.ring, f.ring_bytes, f.cursor, 4096), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_reader_init(&f.r, NULL, f.ring_bytes, f.cursor, 4096), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring, f.ring_bytes, NULL, 4096), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring + 32, f.ring_bytes - 32, f.cursor, 4096), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring, f.ring_bytes, f.cursor + 4, 4092), AQD_ERR_ARGUMENT);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring, f.ring_bytes - 1, f.cursor, 4096), AQD_ERR_SIZE);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring, 0, f.cursor, 4096), AQD_ERR_SIZE);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring, f.ring_bytes, f.cursor, 255), AQD_ERR_SIZE);
    CHECK_EQ(aqd_reader_init(&f.r, f.ring, f.ring_bytes, f.cursor, 256), AQD_OK);
    fixture_free(&f);
}

int main(void)
{
    RUN(the_example_ring_header_is_accepted_and_read);
    RUN(the_example_cursor_identity_is_accepted);
    RUN(the_example_data_record_is_read);
    RUN(the_example_pad_is_skipped);
    RUN(the_smallest_ring_tells_clock_minor_and_a_name_that_fills_its_field);
    RUN(a_ring_shorter_than_its_header_is_not_looked_at);
    RUN(every_field_of_the_ring_header_is_checked);
    RUN(every_flipped_bit_of_the_ring_header_is_refused);
    RUN(every_flipped_bit_of_the_cursor_identity_is_refused);
    RUN(a_cursor_that_says_it_is_something_else_is_refused);
    RUN(a_new_reader_takes_up_the_counts_of_its_cursor_and_nothing_else);
    RUN(a_cursor_of_another_ring_is_refused);
    RUN(bad_arguments_and_short_segments_are_refused);
    return finish_tests();
}
