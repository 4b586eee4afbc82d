/* CRC-32/ISO-HDLC by tables, for every machine, or by the program's function. Contract: crc32.h. */
#include "../compiler.h"

#include "../bytes.h"
#include "crc32.h"
#if !defined AQD_CRC_HOOK
#include "tables.h"
#endif

#if defined AQD_CRC_HOOK || defined AQD_CRC_SMALL

#if defined AQD_CRC_HOOK
uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    return aqd_crc32_hook(state, bytes, len);
}
#else
uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len > 0; at++, len--) {
        state ^= *at;
        state = (state >> 4) ^ aqd_crc32_nibble[state & 15];
        state = (state >> 4) ^ aqd_crc32_nibble[state & 15];
    }
    return state;
}
#endif

/*@ assigns \nothing; exits \false; */
static uint32_t word_by_table(uint32_t state, uint64_t word)
{
    unsigned char bytes[8];
    aqd_put64(bytes, word);
    return aqd_crc32_update_table(state, bytes, sizeof bytes);
}

#elif defined AQD_CRC_1K

/* The state after the four bytes that were added to it. */
/*@ assigns \nothing; exits \false; */
static inline uint32_t four_by_table(uint32_t state)
{
    state = (state >> 8) ^ aqd_crc32_table[0][state & 255];
    state = (state >> 8) ^ aqd_crc32_table[0][state & 255];
    state = (state >> 8) ^ aqd_crc32_table[0][state & 255];
    return (state >> 8) ^ aqd_crc32_table[0][state & 255];
}

/*@ assigns \nothing; exits \false; */
static inline uint32_t word_by_table(uint32_t state, uint64_t word)
{
    state = four_by_table(state ^ (uint32_t)word);
    return four_by_table(state ^ (uint32_t)(word >> 32));
}

uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len >= 4; at += 4, len -= 4) {
        state = four_by_table(state ^ aqd_get32(at));
    }
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len > 0; at++, len--) {
        state = (state >> 8) ^ aqd_crc32_table[0][(state ^ *at) & 255];
    }
    return state;
}

#else

/*@ assigns \nothing; exits \false; */
static inline uint32_t word_by_table(uint32_t state, uint64_t word)
{
    word ^= state;
    uint32_t low = (uint32_t)word, high = (uint32_t)(word >> 32);
    return aqd_crc32_table[7][low & 255] ^ aqd_crc32_table[6][low >> 8 & 255] ^ aqd_crc32_table[5][low >> 16 & 255]
           ^ aqd_crc32_table[4][low >> 24] ^ aqd_crc32_table[3][high & 255] ^ aqd_crc32_table[2][high >> 8 & 255]
           ^ aqd_crc32_table[1][high >> 16 & 255] ^ aqd_crc32_table[0][high >> 24];
}

uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len >= 8; at += 8, len -= 8) {
        state = word_by_table(state, aqd_get64(at));
    }
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len > 0; at++, len--) {
        state = (state >> 8) ^ aqd_crc32_table[0][(state ^ *at) & 255];
    }
    return state;
}

#endif

uint32_t aqd_crc32_update_words_table(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    state = word_by_table(state, a);
    state = word_by_table(state, b);
    state = word_by_table(state, c);
    return word_by_table(state, d);
}
