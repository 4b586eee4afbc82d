/* Bytes of a message on their way: private ones, which are only loaded, or shared ones, each of
 * which is loaded once and stored before it is checked. The only accesses to memory of the kernels:
 * the proof sees their contracts. */
#ifndef AQUEDUCT_CRC32_COPY_H
#define AQUEDUCT_CRC32_COPY_H

#include "../load.h"
#include "clmul.h"

/* How far a message of len bytes may be loaded: a copy loads whole words. */
/*@ logic integer aqd_loaded(integer len, integer copies) =
        copies != 0 ? (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) : len; */

/* Passes the 16 bytes at `at`. ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (at .. at + 15)) && (copies ==> \valid(into + (at .. at + 15)));
    assigns into[at .. (copies ? at + 15 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_pass_16(unsigned char *into, const unsigned char *from, size_t at, bool copies);

#ifndef __FRAMAC__
AQD_BY_16 AQD_KERNEL __m128i aqd_pass_16(unsigned char *into, const unsigned char *from, size_t at, bool copies)
{
    if (!copies) {
        return _mm_loadu_si128((const __m128i *)(const void *)(from + at));
    }
    __m128i block = *(const volatile __m128i *)(const volatile void *)(from + at);
    _mm_storeu_si128((__m128i *)(void *)(into + at), block);
    return block;
}
#endif

/* The n bytes at from, which are private, as the lowest of two words. Overlapping words, not a
 * buffer, which would have to be in the cache first. */
/*@ requires 1 <= n <= 15 && \valid_read(from + (0 .. n - 1));
    requires \valid(words + (0 .. 1));
    assigns words[0 .. 1]; exits \false; */
static inline void aqd_get_few(uint64_t *words, const unsigned char *from, size_t n)
{
    uint64_t first, last;
    unsigned bits;
    words[1] = 0;
    if (n >= 8) {
        first = aqd_get64(from);
        last = aqd_get64(from + n - 8);
        bits = (unsigned)(8 * (n - 8));
        words[0] = first;
        words[1] = bits == 0 ? 0 : last >> (64 - bits);
        return;
    }
    if (n >= 4) {
        first = aqd_get32(from);
        last = aqd_get32(from + n - 4);
        bits = (unsigned)(8 * (n - 4));
    } else if (n >= 2) {
        first = aqd_get16(from);
        last = aqd_get16(from + n - 2);
        bits = (unsigned)(8 * (n - 2));
    } else {
        first = last = from[0];
        bits = 0;
    }
    words[0] = first | last << bits;
}

/* The lowest n bytes of two words, to private ones: overlapping words again. */
/*@ requires 1 <= n <= 15 && \valid(into + (0 .. n - 1));
    assigns into[0 .. n - 1]; exits \false; */
static inline void aqd_put_few(unsigned char *into, uint64_t low, uint64_t high, size_t n)
{
    if (n > 8) {
        unsigned bits = (unsigned)(8 * (n - 8));
        aqd_put64(into, low);
        aqd_put64(into + n - 8, low >> bits | high << (64 - bits));
    } else if (n == 8) {
        aqd_put64(into, low);
    } else if (n >= 4) {
        aqd_put32(into, (uint32_t)low);
        aqd_put32(into + n - 4, (uint32_t)(low >> 8 * (n - 4)));
    } else if (n >= 2) {
        aqd_put16(into, (uint16_t)low);
        aqd_put16(into + n - 2, (uint16_t)(low >> 8 * (n - 2)));
    } else {
        into[0] = (unsigned char)low;
    }
}

/* Passes the last n bytes of a message, at `at`, and fills the block up with zeros. */
/*@ requires 1 <= n <= 15;
    requires \valid_read(from + (at .. at + aqd_loaded(n, copies) - 1));
    requires copies ==> \valid(into + (at .. at + n - 1));
    assigns into[at .. (copies ? at + n - 1 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_pass_tail(unsigned char *into, const unsigned char *from, size_t at, size_t n, bool copies)
{
    uint64_t words[2];
    if (!copies) {
        aqd_get_few(words, from + at, n);
        return aqd_pair(words[0], words[1]);
    }
    words[0] = aqd_load_word(from + at);
    words[1] = 0;
    if (n > 8) {
        words[1] = aqd_load_word(from + at + 8) & UINT64_MAX >> 8 * (16 - n);
    } else {
        words[0] &= UINT64_MAX >> 8 * (8 - n);
    }
    aqd_put_few(into + at, words[0], words[1], n);
    return aqd_pair(words[0], words[1]);
}

#endif
