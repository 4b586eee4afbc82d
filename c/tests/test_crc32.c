/* Every CRC path of this build against the bitwise definition. */
#include <stdlib.h>

#include "../src/crc32/crc32.h"
#include "../src/record_load.h"
#include "check.h"
#include "writer.h"

#define BIG (1 << 20)

static _Alignas(64) unsigned char bytes[BIG + 16];

#if defined AQD_CRC_HOOK
static size_t hooked_bytes;

/* Stands in for a processor's CRC unit. */
uint32_t aqd_crc32_hook(uint32_t state, const void *data, size_t len)
{
    hooked_bytes += len;
    return oracle_crc32_update(state, data, len);
}

static void the_function_of_the_program_is_the_only_one(void)
{
    hooked_bytes = 0;
    CHECK_EQ(aqd_crc32("123456789", 9), UINT32_C(0xCBF43926));
    CHECK_EQ(aqd_crc32_update_words_table(AQD_CRC32_START, 1, 2, 3, 4), aqd_crc32_update_words_fast(AQD_CRC32_START, 1, 2, 3, 4));
    CHECK_EQ(hooked_bytes, 9 + 64);
}
#endif

#if !defined AQD_CRC_CLMUL && !defined AQD_CRC_ARM
static void a_build_without_special_instructions_says_so(void)
{
    CHECK_EQ(aqd_crc32_width(), 0);
    CHECK(!aqd_crc32_has_fast());
}
#endif

static void the_nine_digits_give_the_catalogue_value(void)
{
    CHECK_EQ(aqd_crc32("123456789", 9), UINT32_C(0xCBF43926));
    CHECK_EQ(aqd_crc32_update_table(AQD_CRC32_START, "123456789", 9), (uint32_t)~UINT32_C(0xCBF43926));
    CHECK_EQ(aqd_crc32("", 0), 0);
}

/* The paths of this build and this processor, as aqd_crc32_width() counts them; 0: none. */
#if defined AQD_CRC_ARM
static const unsigned widths[] = {0, 8, 16, 32};
#else
static const unsigned widths[] = {0, 16, 32, 64};
#endif

static bool is_there(unsigned width) { return width <= aqd_crc32_width(); }

static uint32_t update_by(unsigned width, uint32_t state, const void *data, size_t len)
{
    switch (width) {
#if defined AQD_CRC_WIDE
    case 64:
        return aqd_crc32_update_by_64(state, data, len);
#endif
#if defined AQD_CRC_PAIRS || defined AQD_CRC_EOR3
    case 32:
        return aqd_crc32_update_by_32(state, data, len);
#endif
#if defined AQD_CRC_CLMUL || defined AQD_CRC_PMULL
    case 16:
        return aqd_crc32_update_by_16(state, data, len);
#endif
#if defined AQD_CRC_ARM
    case 8:
        return aqd_crc32_update_by_8(state, data, len);
#endif
    default:
        return aqd_crc32_update_table(state, data, len);
    }
}

static uint32_t load_bytes_by(unsigned width, unsigned char *into, const unsigned char *from, size_t len)
{
#if defined AQD_CRC_COPIES
    return aqd_load_bytes_crc_by(width, into, from, len);
#else
    (void)width;
    return aqd_load_bytes_crc(into, from, len);
#endif
}

/* Whether whole records are loaded in one go by this path. */
static bool takes_records(unsigned width)
{
#if defined AQD_CRC_COPIES
    return width != 0;
#else
    (void)width;
    return false;
#endif
}

static void compare(size_t from, size_t len, uint32_t state)
{
    uint32_t expected = oracle_crc32_update(state, bytes + from, len);
    CHECK_EQ(aqd_crc32_update(state, bytes + from, len), expected);
    CHECK_EQ(aqd_crc32_update_table(state, bytes + from, len), expected);
    if (aqd_crc32_has_fast()) {
        CHECK_EQ(aqd_crc32_update_fast(state, bytes + from, len), expected);
    }
    for (size_t i = 0; i < sizeof widths / sizeof *widths && is_there(widths[i]); i++) {
        CHECK_EQ(update_by(widths[i], state, bytes + from, len), expected);
    }
}

static void every_length_to_600_at_every_alignment_equals_the_definition(void)
{
    for (size_t from = 0; from < 16; from++) {
        for (size_t len = 0; len <= 600; len++) {
            compare(from, len, AQD_CRC32_START);
            compare(from, len, (uint32_t)(len * UINT32_C(0x9E3779B9)));
        }
    }
}

static void big_inputs_at_every_alignment_equal_the_definition(void)
{
    static const size_t lens[] = {1023, 1024, 4096, 65535, 65536 + 48, BIG};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        for (size_t from = 0; from < 16; from += lens[i] == BIG ? 15 : 1) {
            compare(from, lens[i], AQD_CRC32_START);
        }
    }
}

/* Around the length from which blocks by 16 move on by exclusive or, and where more of them begin
 * to; private bytes and copies, which must touch nothing else. */
static void every_length_about_a_long_message_equals_the_definition(void)
{
    static _Alignas(64) unsigned char room[64 + 20000 + 64];
    static const size_t skews[] = {0, 16, 32, 48, 1};
#if defined AQD_CRC_HOOK
    const size_t end = 16950; /* bit by bit: few */
#else
    const size_t end = 19600;
#endif
    for (size_t from = 0; from < 16; from++) {
        uint32_t expected = oracle_crc32_update(AQD_CRC32_START, bytes + from, 16900);
        for (size_t len = 16900; len < end; expected = oracle_crc32_update(expected, bytes + from + len, 1), len++) {
            if (from % 8 != 0 && len % 13 != from) {
                continue;
            }
            for (size_t i = 0; i < sizeof widths / sizeof *widths && is_there(widths[i]); i++) {
                CHECK_EQ(update_by(widths[i], AQD_CRC32_START, bytes + from, len), expected);
                if (from != 0) {
                    continue; /* payloads lie at granules */
                }
                unsigned char *into = room + 64 + skews[len % 5];
                memset(room, 0x55, 64 + 48);
                memset(into + len, 0x55, 16);
                CHECK_EQ(load_bytes_by(widths[i], into, bytes, len), ~expected);
                CHECK(memcmp(into, bytes, len) == 0);
                for (size_t n = 1; n <= 16; n++) {
                    CHECK(*(into - n) == 0x55 && into[len + n - 1] == 0x55);
                }
            }
        }
    }
}

/* An exact allocation, so that a sanitizer sees a vector load that goes beyond either end. */
static void no_length_is_read_beyond_its_ends(void)
{
    for (size_t len = 1; len <= 600; len++) {
        unsigned char *exact = malloc(len);
        if (!exact) {
            abort();
        }
        memcpy(exact, bytes, len);
        CHECK_EQ(aqd_crc32(exact, len), oracle_crc32(bytes, len));
        for (size_t i = 0; i < sizeof widths / sizeof *widths && is_there(widths[i]); i++) {
            CHECK_EQ(~update_by(widths[i], AQD_CRC32_START, exact, len), oracle_crc32(bytes, len));
        }
        free(exact);
    }
}

static void four_words_equal_their_32_bytes(void)
{
    uint64_t random = 1;
    for (int i = 0; i < 1000; i++) {
        uint64_t w[4];
        unsigned char b[32];
        for (int k = 0; k < 4; k++) {
            w[k] = next_random(&random);
            aqd_put64(b + 8 * k, w[k]);
        }
        uint32_t state = (uint32_t)next_random(&random), expected = oracle_crc32_update(state, b, sizeof b);
        CHECK_EQ(aqd_crc32_update_words(state, w[0], w[1], w[2], w[3]), expected);
        CHECK_EQ(aqd_crc32_update_words_table(state, w[0], w[1], w[2], w[3]), expected);
        if (aqd_crc32_has_fast()) {
            CHECK_EQ(aqd_crc32_update_words_fast(state, w[0], w[1], w[2], w[3]), expected);
        }
    }
}

static void a_split_input_gives_the_same_state(void)
{
    uint32_t whole = aqd_crc32_update(AQD_CRC32_START, bytes, 200);
    for (size_t cut = 0; cut <= 200; cut++) {
        uint32_t state = aqd_crc32_update(AQD_CRC32_START, bytes, cut);
        CHECK_EQ(aqd_crc32_update(state, bytes + cut, 200 - cut), whole);
    }
}

/* From an exact allocation of whole words, at the alignment of a payload, into one with a margin on
 * both sides, aligned like anything; those of malloc are to 16. */
static void a_copy_by_any_path_is_whole_touches_nothing_else_and_has_its_crc(void)
{
    static _Alignas(64) unsigned char room[1100 + 64 + 64 + 32];
    for (size_t len = 0; len <= 1100; len++) {
        size_t words = (len + 7) / 8 * 8, whole = (words + 63) / 64 * 64 + 64;
        unsigned char *allocated = aligned_alloc(64, whole);
        if (!allocated) {
            abort();
        }
        unsigned char *from = allocated + whole - words - (whole - words) % 32; /* 32-byte aligned, as near to the end as that allows */
        memcpy(from, bytes, len);
        uint32_t expected = oracle_crc32(bytes, len);
        const size_t skews[] = {0, 16, 32, 48, len % 63 + 1};
        for (size_t k = 0; k < sizeof skews / sizeof *skews; k++) {
            unsigned char *into = room + 64 + skews[k];
            for (size_t i = 0; i < sizeof widths / sizeof *widths && is_there(widths[i]); i++) {
                memset(room, 0x55, sizeof room);
                CHECK_EQ(load_bytes_by(widths[i], into, from, len), expected);
                CHECK(memcmp(into, bytes, len) == 0);
                for (const unsigned char *at = room; at < room + sizeof room; at++) {
                    CHECK((at >= into && at < into + len) || *at == 0x55);
                }
            }
        }
        CHECK_EQ(aqd_load_bytes_crc(room, from, len), expected);
        free(allocated);
    }
}

/* A record for aqd_load_record_crc, in an exact allocation of granules. */
#define EPOCH UINT64_C(0x0123456789ABCDEF)
#define POSITION UINT32_C(0xFFFFFFF0)
#define SEQ UINT64_C(0x8000000100000002)
#define TIMESTAMP UINT64_C(0xFEDCBA9876543210)

static uint32_t epoch_state(void)
{
    unsigned char epoch[8];
    aqd_put64(epoch, EPOCH);
    return oracle_crc32_update(AQD_CRC32_START, epoch, sizeof epoch);
}

static unsigned char *make_record(uint32_t len, uint8_t kind)
{
    size_t room = 32 + (len + (size_t)31) / 32 * 32;
    unsigned char *at = aligned_alloc(32, room), covered[32];
    if (!at) {
        abort();
    }
    memset(at, 0xA5, room);
    aqd_put32(at, len);
    at[4] = kind;
    at[5] = 0x81;
    aqd_put16(at + 6, 0xBEEF);
    aqd_put64(at + 8, SEQ);
    aqd_put64(at + 16, TIMESTAMP);
    aqd_put32(at + 24, oracle_crc32(bytes, len));
    memcpy(at + 32, bytes, len);
    aqd_put32(covered, POSITION);
    memcpy(covered + 4, at, 28);
    aqd_put32(at + 28, ~oracle_crc32_update(epoch_state(), covered, sizeof covered));
    return at;
}

/* By the fastest path there is; the variants of this program have others. */
static void a_header_is_loaded_with_its_crc(void)
{
    unsigned char *from = make_record(37, AQD_KIND_DATA_ATTRIBUTES);
    for (unsigned bit = 0; bit <= 32 * 8; bit++) {
        if (bit < 32 * 8) {
            from[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        struct aqd_header h;
        memset(&h, 0x77, sizeof h);
        aqd_load_header_crc(&h, from, epoch_state(), POSITION);
        CHECK(h.len == aqd_get32(from) && h.kind == from[4] && h.flags == from[5] && h.type_tag == aqd_get16(from + 6));
        CHECK(h.seq == aqd_get64(from + 8) && h.timestamp_ns == aqd_get64(from + 16));
        CHECK(h.payload_crc == aqd_get32(from + 24) && h.stored_crc == aqd_get32(from + 28));
        CHECK((h.computed_crc == h.stored_crc) == (bit == 32 * 8));
        if (bit < 32 * 8) {
            from[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
    }
    free(from);
}

/* The path under test. */
static unsigned path;

static bool load_record_by_path(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
#if defined AQD_CRC_COPIES
    return aqd_load_record_crc_by(path, from, prefix, seq, most, into, rec);
#else
    return aqd_load_record_crc(from, prefix, seq, most, into, rec);
#endif
}

/* Loads into a buffer of most bytes with a margin on both sides, which must stay. What was not
 * taken must leave the description alone. */
static bool load_record(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    aqd_record before;
    memset(&before, 0x77, sizeof before);
    *rec = before;
    memset(into, 0x55, most + 32);
    bool taken = load_record_by_path(from, prefix, seq, most, into + 16, rec);
    for (size_t i = 0; i < 16; i++) {
        CHECK(into[i] == 0x55 && into[16 + most + i] == 0x55);
    }
    CHECK(taken || memcmp(rec, &before, sizeof before) == 0);
    return taken;
}

static void an_expected_record_is_copied_whole_and_described(void)
{
    static unsigned char into[7000 + 32];
    const uint32_t prefix = epoch_state() ^ POSITION;
    for (uint32_t len = 0; len <= 7000; len += len < 700 ? 1 : 43) {
        unsigned char *from = make_record(len, AQD_KIND_DATA);
        aqd_record rec;
        bool taken = load_record(from, prefix, SEQ, len, into, &rec);
        CHECK_EQ(taken, takes_records(path));
        if (taken) {
            CHECK(memcmp(into + 16, bytes, len) == 0);
            CHECK_EQ(rec.seq, SEQ);
            CHECK_EQ(rec.timestamp_ns, TIMESTAMP);
            CHECK_EQ(rec.len, len);
            CHECK_EQ(rec.type_tag, 0xBEEF);
            CHECK_EQ(rec.flags, 0x81);
            CHECK_EQ(rec.attribute_units, 0);
        }
        free(from);
    }
}

static void a_record_in_which_anything_is_otherwise_is_not_taken(void)
{
    static const uint32_t lens[] = {1, 8, 15, 16, 31, 33, 64, 65, 79, 80, 100, 127, 128, 191, 256, 300, 700};
    static unsigned char into[700 + 32];
    const uint32_t prefix = epoch_state() ^ POSITION;
    aqd_record rec;
    for (size_t k = 0; k < sizeof lens / sizeof *lens; k++) {
        uint32_t len = lens[k];
        unsigned char *from = make_record(len, AQD_KIND_DATA);
        CHECK(!load_record(from, prefix, SEQ, len - 1, into, &rec));
        for (unsigned bit = 0; bit < (32 + len) * 8; bit++) {
            from[bit / 8] ^= (unsigned char)(1 << bit % 8);
            CHECK(!load_record(from, prefix, SEQ, len, into, &rec));
            from[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        for (unsigned bit = 0; bit < 32; bit++) {
            CHECK(!load_record(from, prefix ^ UINT32_C(1) << bit, SEQ, len, into, &rec));
        }
        for (unsigned bit = 0; bit < 64; bit++) {
            CHECK(!load_record(from, prefix, SEQ ^ UINT64_C(1) << bit, len, into, &rec));
        }
        CHECK_EQ(load_record(from, prefix, SEQ, len, into, &rec), takes_records(path));
        free(from);
        for (unsigned kind = 0; kind < 256; kind++) {
            from = make_record(len, (uint8_t)kind);
            CHECK_EQ(load_record(from, prefix, SEQ, len, into, &rec), kind == AQD_KIND_DATA && takes_records(path));
            free(from);
        }
    }
}

int main(void)
{
    uint64_t random = 42;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(next_random(&random) >> 56);
    }
    printf("# registers of %u bytes at most; special instructions: %s\n", aqd_crc32_width(), aqd_crc32_has_fast() ? "yes" : "no");
    RUN(the_nine_digits_give_the_catalogue_value);
#if defined AQD_CRC_HOOK
    RUN(the_function_of_the_program_is_the_only_one);
#endif
#if !defined AQD_CRC_CLMUL && !defined AQD_CRC_ARM
    RUN(a_build_without_special_instructions_says_so);
#endif
    RUN(every_length_to_600_at_every_alignment_equals_the_definition);
    RUN(big_inputs_at_every_alignment_equal_the_definition);
    RUN(every_length_about_a_long_message_equals_the_definition);
    RUN(no_length_is_read_beyond_its_ends);
    RUN(four_words_equal_their_32_bytes);
    RUN(a_split_input_gives_the_same_state);
    RUN(a_copy_by_any_path_is_whole_touches_nothing_else_and_has_its_crc);
    RUN(a_header_is_loaded_with_its_crc);
    for (size_t i = 0; i < sizeof widths / sizeof *widths && is_there(widths[i]); i++) {
        path = widths[i];
        printf("# records by registers of %u bytes\n", path);
        RUN(an_expected_record_is_copied_whole_and_described);
        RUN(a_record_in_which_anything_is_otherwise_is_not_taken);
    }
    return finish_tests();
}
