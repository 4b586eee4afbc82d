/* The sum of a message by registers of two blocks: AVX2 and VPCLMULQDQ. Only included where
 * select.h defines AQD_CRC_PAIRS. */
#ifndef AQUEDUCT_CRC32_PAIRS_H
#define AQUEDUCT_CRC32_PAIRS_H

#include "blocks.h"

#if defined AQD_CRC_PAIRS

#define AQD_BY_32 __attribute__((target("pclmul,sse4.1,avx2,vpclmulqdq")))

/* As aqd_factor_16, of two blocks. */
/*@ requires 2 <= left <= AQD_CRC32_LAST;
    assigns \nothing; exits \false; */
AQD_BY_32 static inline __m256i aqd_factor_32(bool ends, size_t left);

/* As aqd_pass_16, of 32 bytes. */
/*@ requires \valid_read(from + (at .. at + 31)) && (copies ==> \valid(into + (at .. at + 31)));
    assigns into[at .. (copies ? at + 31 : at - 1)]; exits \false; */
AQD_BY_32 AQD_KERNEL __m256i aqd_pass_32(unsigned char *into, const unsigned char *from, size_t at, bool copies);

#ifndef __FRAMAC__
AQD_BY_32 static inline __m256i aqd_factor_32(bool ends, size_t left)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)aqd_crc32_factors[ends][AQD_CRC32_LAST - left]);
}

AQD_BY_32 AQD_KERNEL __m256i aqd_pass_32(unsigned char *into, const unsigned char *from, size_t at, bool copies)
{
    if (!copies) {
        return _mm256_loadu_si256((const __m256i *)(const void *)(from + at));
    }
    __m256i pair = *(const volatile __m256i_u *)(const volatile void *)(from + at);
    _mm256_storeu_si256((__m256i *)(void *)(into + at), pair);
    return pair;
}
#endif

/*@ assigns \nothing; exits \false; */
AQD_BY_32 static inline __m256i aqd_add_32(__m256i a, __m256i b) { return _mm256_xor_si256(a, b); }

/*@ assigns \nothing; exits \false; */
AQD_BY_32 static inline __m256i aqd_fold_32(__m256i blocks, __m256i by)
{
    return aqd_add_32(_mm256_clmulepi64_epi128(blocks, by, 0x00), _mm256_clmulepi64_epi128(blocks, by, 0x11));
}

/*@ assigns \nothing; exits \false; */
AQD_BY_32 static inline __m128i aqd_add_halves(__m256i y) { return aqd_add(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)); }

/* As aqd_sum_two_by_16, in one register: a multiplication costs as much by the pair. */
/*@ assigns \nothing; exits \false; */
AQD_BY_32 static inline __m128i aqd_sum_two_by_32(__m128i first, __m128i second)
{
    const __m256i by = _mm256_inserti128_si256(_mm256_castsi128_si256(aqd_pair(AQD_CRC32_OVER_24)), aqd_pair(AQD_CRC32_OVER_8), 1);
    return aqd_add_halves(aqd_fold_32(_mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1), by));
}

/* As aqd_divide_both_by_16, in one register. */
/*@ assigns \nothing; exits \false; */
AQD_BY_32 static inline uint64_t aqd_divide_both_by_32(__m128i first, __m128i second)
{
    const __m256i barrett = _mm256_broadcastsi128_si256(aqd_pair(AQD_CRC32_BARRETT));
    __m256i x = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    __m256i quotient = _mm256_clmulepi64_epi128(x, barrett, 0x10);
    x = aqd_add_32(x, _mm256_clmulepi64_epi128(quotient, barrett, 0x00));
    return (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}

/* As aqd_bulk_16, of a multiple of 128 bytes. */
/*@ requires 128 <= bytes && bytes % 128 == 0 && 8 <= left <= AQD_CRC32_LAST;
    requires \valid_read(from + (0 .. bytes - 1)) && (copies ==> \valid(into + (0 .. bytes - 1)));
    assigns into[0 .. (copies ? bytes - 1 : -1)]; exits \false; */
AQD_BY_32 AQD_KERNEL __m256i aqd_bulk_32(__m256i y, unsigned char *into, const unsigned char *from, size_t bytes, bool ends, size_t left, bool copies)
{
    const __m256i by = _mm256_broadcastsi128_si256(aqd_pair(AQD_CRC32_OVER_128));
    __m256i y1 = aqd_pass_32(into, from, 32, copies), y2 = aqd_pass_32(into, from, 64, copies), y3 = aqd_pass_32(into, from, 96, copies);
    y = aqd_add_32(y, aqd_pass_32(into, from, 0, copies));
    /*@ loop invariant 128 <= at <= bytes && at % 128 == 0;
        loop assigns at, y, y1, y2, y3, into[0 .. (copies ? bytes - 1 : -1)];
        loop variant bytes - at; */
    for (size_t at = 128; at < bytes; at += 128) {
        y = aqd_add_32(aqd_fold_32(y, by), aqd_pass_32(into, from, at, copies));
        y1 = aqd_add_32(aqd_fold_32(y1, by), aqd_pass_32(into, from, at + 32, copies));
        y2 = aqd_add_32(aqd_fold_32(y2, by), aqd_pass_32(into, from, at + 64, copies));
        y3 = aqd_add_32(aqd_fold_32(y3, by), aqd_pass_32(into, from, at + 96, copies));
    }
    y = aqd_add_32(aqd_fold_32(y, aqd_factor_32(ends, left)), aqd_fold_32(y1, aqd_factor_32(ends, left - 2)));
    y2 = aqd_add_32(aqd_fold_32(y2, aqd_factor_32(ends, left - 4)), aqd_fold_32(y3, aqd_factor_32(ends, left - 6)));
    return aqd_add_32(y, y2);
}

/* As aqd_finish, of fewer than 128 bytes. */
/*@ requires at <= len && len - at < 128 && at % 16 == 0;
    requires \valid_read(from + (at .. aqd_loaded(len, copies) - 1));
    requires copies ==> \valid(into + (at .. len - 1));
    assigns into[at .. (copies ? len - 1 : at - 1)]; exits \false; */
AQD_BY_32 AQD_KERNEL __m128i aqd_finish_32(__m256i y, unsigned char *into, const unsigned char *from, size_t at, size_t len, bool copies)
{
    const bool ends = len % 16 == 0;
    /*@ loop invariant \at(at, Pre) <= at <= len && at % 16 == 0;
        loop assigns at, y, into[\at(at, Pre) .. (copies ? len - 1 : \at(at, Pre) - 1)];
        loop variant len - at; */
    for (; len - at >= 32; at += 32) {
        y = aqd_add_32(y, aqd_fold_32(aqd_pass_32(into, from, at, copies), aqd_factor_32(ends, (len - at) / 16)));
    }
    return aqd_finish(aqd_add_halves(y), into, from, at, len, copies);
}

/* aqd_sum_by_32 of 32 to 127 bytes. */
/*@ requires 32 <= len < 128;
    requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_32 AQD_KERNEL __m128i aqd_sum_few_by_32(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    __m256i y = _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)state));
    y = aqd_fold_32(aqd_add_32(y, aqd_pass_32(into, from, 0, copies)), aqd_factor_32(len % 16 == 0, len / 16));
    return aqd_finish_32(y, into, from, 32, len, copies);
}

/* As aqd_sum_by_16. */
/*@ requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_32 AQD_KERNEL __m128i aqd_sum_by_32(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    if (len < 32) {
        return aqd_sum_by_16(state, into, from, len, copies);
    }
    if (len < 128) {
        return aqd_sum_few_by_32(state, into, from, len, copies);
    }
    const size_t bulk = len - len % 128;
    __m256i y = _mm256_zextsi128_si256(_mm_cvtsi32_si128((int)state));
    y = aqd_bulk_32(y, into, from, bulk, len % 16 == 0, 8 + len % 128 / 16, copies);
    return aqd_finish_32(y, into, from, bulk, len, copies);
}

#endif

#endif
