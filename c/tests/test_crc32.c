/* Every CRC path of this build against the bitwise definition. */
#include <stdlib.h>

#include "../src/crc32.h"
#include "check.h"
#include "writer.h"

#define BIG (1 << 20)

static unsigned char bytes[BIG + 16];

static void the_nine_digits_give_the_catalogue_value(void)
{
    CHECK_EQ(aqd_crc32("123456789", 9), UINT32_C(0xCBF43926));
    CHECK_EQ(aqd_crc32_update_table(AQD_CRC32_START, "123456789", 9), (uint32_t)~UINT32_C(0xCBF43926));
    CHECK_EQ(aqd_crc32("", 0), 0);
}

static void compare(size_t from, size_t len, uint32_t state)
{
    uint32_t expected = oracle_crc32_update(state, bytes + from, len);
    CHECK_EQ(aqd_crc32_update(state, bytes + from, len), expected);
    CHECK_EQ(aqd_crc32_update_table(state, bytes + from, len), expected);
    if (aqd_crc32_has_fast()) {
        CHECK_EQ(aqd_crc32_update_fast(state, bytes + from, len), expected);
    }
}

static void every_length_to_300_at_every_alignment_equals_the_definition(void)
{
    for (size_t from = 0; from < 16; from++) {
        for (size_t len = 0; len <= 300; len++) {
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

/* An exact allocation, so that a sanitizer sees a vector load that goes beyond either end. */
static void no_length_is_read_beyond_its_ends(void)
{
    for (size_t len = 1; len <= 300; len++) {
        unsigned char *exact = malloc(len);
        if (!exact) {
            abort();
        }
        memcpy(exact, bytes, len);
        CHECK_EQ(aqd_crc32(exact, len), oracle_crc32(bytes, len));
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

/* From an exact allocation of whole words, at the alignment of a payload, into one with a margin on both sides. */
static void a_copy_is_whole_touches_nothing_else_and_has_its_crc(void)
{
    for (size_t len = 0; len <= 1100; len += len < 300 ? 1 : 37) {
        size_t words = (len + 7) / 8 * 8, room = (words + 63) / 64 * 64 + 64;
        unsigned char *allocated = aligned_alloc(64, room), *into = malloc(len + 32);
        if (!allocated || !into) {
            abort();
        }
        unsigned char *from = allocated + room - words - (room - words) % 32; /* 32-byte aligned, as near to the end as that allows */
        memcpy(from, bytes, len);
        memset(into, 0x55, len + 32);
        CHECK_EQ(aqd_load_bytes_crc(into + 16, from, len), oracle_crc32(bytes, len));
        CHECK(memcmp(into + 16, bytes, len) == 0);
        for (size_t i = 0; i < 16; i++) {
            CHECK(into[i] == 0x55 && into[16 + len + i] == 0x55);
        }
        free(allocated);
        free(into);
    }
}

int main(void)
{
    uint64_t random = 42;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(next_random(&random) >> 56);
    }
    printf("# special instructions: %s\n", aqd_crc32_has_wide() ? "wide" : aqd_crc32_has_fast() ? "yes" : "no");
    RUN(the_nine_digits_give_the_catalogue_value);
    RUN(every_length_to_300_at_every_alignment_equals_the_definition);
    RUN(big_inputs_at_every_alignment_equal_the_definition);
    RUN(no_length_is_read_beyond_its_ends);
    RUN(four_words_equal_their_32_bytes);
    RUN(a_split_input_gives_the_same_state);
    RUN(a_copy_is_whole_touches_nothing_else_and_has_its_crc);
    return finish_tests();
}
