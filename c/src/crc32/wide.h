/* The sum of a message by registers of four blocks: AVX-512 and VPCLMULQDQ. Nothing where
 * select.h does not define AQD_CRC_WIDE. */
#ifndef AQUEDUCT_CRC32_WIDE_H
#define AQUEDUCT_CRC32_WIDE_H

#include "pairs.h"

#if defined AQD_CRC_WIDE

#define AQD_BY_64 __attribute__((target("pclmul,sse4.1,avx2,avx512f,avx512vl,vpclmulqdq")))

/* As aqd_factor_16, of four blocks. */
/*@ requires 4 <= left <= AQD_CRC32_LAST;
    assigns \nothing; exits \false; */
AQD_BY_64 static inline __m512i aqd_factor_64(bool ends, size_t left);

/* As aqd_pass_16, of 64 bytes. */
/*@ requires \valid_read(from + (at .. at + 63)) && (copies ==> \valid(into + (at .. at + 63)));
    assigns into[at .. (copies ? at + 63 : at - 1)]; exits \false; */
AQD_BY_64 AQD_KERNEL __m512i aqd_pass_64(unsigned char *into, const unsigned char *from, size_t at, bool copies);

/* Whether wide stores would meet more cache lines than they need, and do not if one block passes
 * first: buffers of malloc are aligned to 16 bytes only. */
/*@ assigns \nothing; exits \false; */
static inline bool aqd_begins_with_a_block(const unsigned char *into);

#ifndef __FRAMAC__
AQD_BY_64 static inline __m512i aqd_factor_64(bool ends, size_t left)
{
    return _mm512_loadu_si512((const void *)aqd_crc32_factors[ends][AQD_CRC32_LAST - left]);
}

AQD_BY_64 AQD_KERNEL __m512i aqd_pass_64(unsigned char *into, const unsigned char *from, size_t at, bool copies)
{
    if (!copies) {
        return _mm512_loadu_si512((const void *)(from + at));
    }
    __m512i blocks = *(const volatile __m512i_u *)(const volatile void *)(from + at);
    _mm512_storeu_si512((void *)(into + at), blocks);
    return blocks;
}

static inline bool aqd_begins_with_a_block(const unsigned char *into) { return (uintptr_t)into % 32 == 16; }
#endif

/* Folds, and adds onto what is there. */
/*@ assigns \nothing; exits \false; */
AQD_BY_64 static inline __m512i aqd_fold_64(__m512i blocks, __m512i by, __m512i onto)
{
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(blocks, by, 0x00), _mm512_clmulepi64_epi128(blocks, by, 0x11), onto, 0x96);
}

/* As aqd_bulk_16, of a multiple of 256 bytes. */
/*@ requires 256 <= bytes && bytes % 256 == 0 && 16 <= left <= AQD_CRC32_LAST;
    requires \valid_read(from + (0 .. bytes - 1)) && (copies ==> \valid(into + (0 .. bytes - 1)));
    assigns into[0 .. (copies ? bytes - 1 : -1)]; exits \false; */
AQD_BY_64 AQD_KERNEL __m512i aqd_bulk_64(__m512i z, unsigned char *into, const unsigned char *from, size_t bytes, bool ends, size_t left, bool copies)
{
    const __m512i by = _mm512_broadcast_i32x4(aqd_pair(AQD_CRC32_OVER_256));
    __m512i z1 = aqd_pass_64(into, from, 64, copies), z2 = aqd_pass_64(into, from, 128, copies), z3 = aqd_pass_64(into, from, 192, copies);
    z = _mm512_xor_si512(z, aqd_pass_64(into, from, 0, copies));
    /*@ loop invariant 256 <= at <= bytes && at % 256 == 0;
        loop assigns at, z, z1, z2, z3, into[0 .. (copies ? bytes - 1 : -1)];
        loop variant bytes - at; */
    for (size_t at = 256; at < bytes; at += 256) {
        z = aqd_fold_64(z, by, aqd_pass_64(into, from, at, copies));
        z1 = aqd_fold_64(z1, by, aqd_pass_64(into, from, at + 64, copies));
        z2 = aqd_fold_64(z2, by, aqd_pass_64(into, from, at + 128, copies));
        z3 = aqd_fold_64(z3, by, aqd_pass_64(into, from, at + 192, copies));
    }
    z = aqd_fold_64(z, aqd_factor_64(ends, left), _mm512_setzero_si512());
    z = aqd_fold_64(z1, aqd_factor_64(ends, left - 4), z);
    z = aqd_fold_64(z2, aqd_factor_64(ends, left - 8), z);
    return aqd_fold_64(z3, aqd_factor_64(ends, left - 12), z);
}

/* As aqd_finish, of fewer than 256 bytes. */
/*@ requires at <= len && len - at < 256 && at % 16 == 0;
    requires \valid_read(from + (at .. aqd_loaded(len, copies) - 1));
    requires copies ==> \valid(into + (at .. len - 1));
    assigns into[at .. (copies ? len - 1 : at - 1)]; exits \false; */
AQD_BY_64 AQD_KERNEL __m128i aqd_finish_64(__m512i z, unsigned char *into, const unsigned char *from, size_t at, size_t len, bool copies)
{
    const bool ends = len % 16 == 0;
    /*@ loop invariant \at(at, Pre) <= at <= len && at % 16 == 0;
        loop assigns at, z, into[\at(at, Pre) .. (copies ? len - 1 : \at(at, Pre) - 1)];
        loop variant len - at; */
    for (; len - at >= 64; at += 64) {
        z = aqd_fold_64(aqd_pass_64(into, from, at, copies), aqd_factor_64(ends, (len - at) / 16), z);
    }
    __m128i x = aqd_add_halves(aqd_add_32(_mm512_castsi512_si256(z), _mm512_extracti64x4_epi64(z, 1)));
    return aqd_finish(x, into, from, at, len, copies);
}

/* aqd_sum_by_64 of 64 bytes and more, of which those before x were folded to it. */
/*@ requires len >= 64;
    requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_64 AQD_KERNEL __m128i aqd_sum_wide(__m128i x, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    const bool ends = len % 16 == 0;
    const size_t bulk = len - len % 256;
    __m512i z = _mm512_zextsi128_si512(x);
    if (bulk > 0) {
        z = aqd_bulk_64(z, into, from, bulk, ends, 16 + len % 256 / 16, copies);
        return aqd_finish_64(z, into, from, bulk, len, copies);
    }
    z = _mm512_xor_si512(z, aqd_pass_64(into, from, 0, copies));
    z = aqd_fold_64(z, aqd_factor_64(ends, len / 16), _mm512_setzero_si512());
    return aqd_finish_64(z, into, from, 64, len, copies);
}

/* As aqd_sum_by_16. */
/*@ requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_64 AQD_KERNEL __m128i aqd_sum_by_64(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    if (len < 64) {
        return aqd_sum_by_32(state, into, from, len, copies);
    }
    __m128i x = _mm_cvtsi32_si128((int)state);
    if (copies && len >= 512 && aqd_begins_with_a_block(into)) {
        x = aqd_fold(aqd_add(x, aqd_pass_16(into, from, 0, copies)), aqd_pair(AQD_CRC32_OVER_16));
        return aqd_sum_wide(x, into + 16, from + 16, len - 16, copies);
    }
    return aqd_sum_wide(x, into, from, len, copies);
}

#endif

#endif
