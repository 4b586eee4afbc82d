/* Carry-less multiplication: the steps of which the CRC of blocks of 16 bytes is made. Only
 * included where select.h defines AQD_CRC_CLMUL. */
#ifndef AQUEDUCT_CRC32_CLMUL_H
#define AQUEDUCT_CRC32_CLMUL_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "constants.h"
#include "select.h"

/* The message is a polynomial, bit-reflected, so the first byte is the lowest. A block of 16 bytes
 * that stands N bytes before another is congruent mod P to two 64-by-32-bit products that can be
 * added to the other: "folding". A *sum* is 96 bits congruent to a message and 4 zero bytes; what
 * the last four bytes of the message add, they add to its second 32 bits. Source: Gopal et al.,
 * "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009. */
#define AQD_BY_16 __attribute__((target("pclmul,sse4.1")))

/* Kernels take whether they copy as a constant. */
#define AQD_KERNEL static inline __attribute__((always_inline))

/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_pair(uint64_t low, uint64_t high) { return _mm_set_epi64x((long long)high, (long long)low); }

/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_add(__m128i a, __m128i b) { return _mm_xor_si128(a, b); }

/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_fold(__m128i block, __m128i by)
{
    return aqd_add(_mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11));
}

/* The state that a message of this sum leaves. Barrett's reduction by a quotient of 64 bits, all of
 * which the remainder cancels. */
/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline uint32_t aqd_divide(__m128i sum)
{
    const __m128i barrett = aqd_pair(AQD_CRC32_BARRETT);
    __m128i quotient = _mm_clmulepi64_si128(sum, barrett, 0x10);
    return (uint32_t)_mm_extract_epi32(aqd_add(sum, _mm_clmulepi64_si128(quotient, barrett, 0x00)), 2);
}

/* The sum of 16 bytes: a multiplication less than folding them. */
/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_shorten(__m128i block)
{
    return aqd_add(_mm_srli_si128(block, 8), _mm_clmulepi64_si128(block, aqd_pair(AQD_CRC32_OVER_16), 0x10));
}

/* The sum of a message of two blocks. */
/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_sum_two_by_16(__m128i first, __m128i second)
{
    return aqd_shorten(aqd_add(aqd_fold(first, aqd_pair(AQD_CRC32_OVER_16)), second));
}

/* Of two: the first state in the lower half. */
/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline uint64_t aqd_divide_both_by_16(__m128i first, __m128i second)
{
    return aqd_divide(first) | (uint64_t)aqd_divide(second) << 32;
}

/* The factor of the block with which the last `left` whole blocks of a message begin. ends: no
 * bytes come after these blocks. */
/*@ requires 1 <= left <= AQD_CRC32_LAST;
    assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_factor_16(bool ends, size_t left);

/* The factors of the last block of a message, of n bytes filled up with zeros, and of what is
 * folded to the block before it. */
/*@ requires n < 16;
    assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_tail_factor(size_t n);
/*@ requires n < 16;
    assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i aqd_before_tail_factor(size_t n);

#ifndef __FRAMAC__
AQD_BY_16 static inline __m128i aqd_factor_16(bool ends, size_t left)
{
    return _mm_loadu_si128((const __m128i *)(const void *)aqd_crc32_factors[ends][AQD_CRC32_LAST - left]);
}

AQD_BY_16 static inline __m128i aqd_tail_factor(size_t n) { return _mm_loadu_si128((const __m128i *)(const void *)aqd_crc32_tail_factors[n][1]); }

AQD_BY_16 static inline __m128i aqd_before_tail_factor(size_t n) { return _mm_loadu_si128((const __m128i *)(const void *)aqd_crc32_tail_factors[n][0]); }
#endif

#endif
