/* Carry-less multiplication (PCLMULQDQ): the steps of which the CRC of blocks of 16 bytes is made.
 * Only included where select.h defines AQD_CRC_CLMUL. */
#ifndef AQUEDUCT_CRC32_CLMUL_H
#define AQUEDUCT_CRC32_CLMUL_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "constants.h"
#include "select.h"

/* The message is a polynomial, bit-reflected, so the first byte is the lowest. A block of 16 bytes
 * that stands N bytes before another is congruent mod P to two 32-by-64-bit products that can be
 * added to the other: "folding". Source: Gopal et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction", Intel 2009. */
#define AQD_CLMUL __attribute__((target("pclmul,ssse3,sse4.1")))

/*@ assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i aqd_clmul_pair(uint64_t low, uint64_t high) { return _mm_set_epi64x((long long)high, (long long)low); }

/* The only access to memory: the proof sees the contract. */
/*@ requires \valid_read(from + (0 .. 15));
    assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i aqd_clmul_load(const unsigned char *from);

#ifndef __FRAMAC__
AQD_CLMUL static inline __m128i aqd_clmul_load(const unsigned char *from) { return _mm_loadu_si128((const __m128i *)(const void *)from); }
#endif

/*@ assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i aqd_clmul_fold(__m128i block, __m128i by)
{
    return _mm_xor_si128(_mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11));
}

/* The remainder of 16 bytes with 32 zero bits behind them. Barrett's reduction by a quotient of 64
 * bits, all of which the remainder cancels: one multiplication less than by way of 64 bits. */
/*@ assigns \nothing; exits \false; */
AQD_CLMUL static inline uint32_t aqd_clmul_reduce(__m128i x)
{
    const __m128i fold16 = aqd_clmul_pair(AQD_CRC32_FOLD_16), barrett = aqd_clmul_pair(AQD_CRC32_BARRETT);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, fold16, 0x10)); /* 96 bits */
    x = _mm_xor_si128(x, _mm_clmulepi64_si128(_mm_clmulepi64_si128(x, barrett, 0x10), barrett, 0x00));
    return (uint32_t)_mm_extract_epi32(x, 2);
}

/* x, then the last n (1..15) bytes that end at end; the 16 bytes before end are readable. */
/*@ requires 1 <= n <= 15 && \valid_read(end - 16 + (0 .. 15));
    assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i aqd_clmul_fold_tail(__m128i x, const unsigned char *end, size_t n)
{
    static const unsigned char shifts[48] = {
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, /* 128: a zero byte */
        0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,  /* n: byte n */
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    };
    __m128i up = aqd_clmul_load(shifts + n), down = aqd_clmul_load(shifts + 16 + n);
    __m128i first = _mm_shuffle_epi8(x, up);                                   /* zeros, then the first n bytes of x */
    __m128i second = _mm_blendv_epi8(_mm_shuffle_epi8(x, down), aqd_clmul_load(end - 16), down); /* the others, then the n new bytes */
    return _mm_xor_si128(aqd_clmul_fold(first, aqd_clmul_pair(AQD_CRC32_FOLD_16)), second);
}

#endif
