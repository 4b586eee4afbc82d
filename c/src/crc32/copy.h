/* Copying shared bytes by vectors, with their CRC on the way: each byte is loaded once, and what is
 * stored is what is checked. Only included where select.h defines AQD_CRC_CLMUL and not
 * AQD_CRC_WORDS; the wide half needs AQD_CRC_WIDE. Used by record_load.c. */
#ifndef AQUEDUCT_CRC32_COPY_H
#define AQUEDUCT_CRC32_COPY_H

#include "../load.h"
#include "clmul.h"
#include "crc32.h"

/* ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (0 .. 15));
    assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i aqd_clmul_load_shared(const unsigned char *from);

#ifndef __FRAMAC__
AQD_CLMUL static inline __m128i aqd_clmul_load_shared(const unsigned char *from)
{
    return *(const volatile __m128i *)(const volatile void *)from;
}
#endif

/*@ requires \valid(into + (0 .. 15));
    assigns into[0 .. 15]; exits \false; */
AQD_CLMUL static inline void aqd_clmul_store(unsigned char *into, __m128i block);

#ifndef __FRAMAC__
AQD_CLMUL static inline void aqd_clmul_store(unsigned char *into, __m128i block) { _mm_storeu_si128((__m128i *)(void *)into, block); }
#endif

#if defined AQD_CRC_WIDE

/* Four blocks at once, loaded once from where they lie and stored on the way. */
#define AQD_WIDE __attribute__((target("pclmul,sse4.1,avx512f,avx512vl,vpclmulqdq")))
#define AQD_WIDE_BYTES ((size_t)64)

/* ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (0 .. 63));
    assigns \nothing; exits \false; */
AQD_WIDE static inline __m512i aqd_wide_load_shared(const unsigned char *from);

/*@ requires \valid(into + (0 .. 63));
    assigns into[0 .. 63]; exits \false; */
AQD_WIDE static inline void aqd_wide_store(unsigned char *into, __m512i blocks);

#ifndef __FRAMAC__
AQD_WIDE static inline __m512i aqd_wide_load_shared(const unsigned char *from) { return *(const volatile __m512i_u *)(const volatile void *)from; }

AQD_WIDE static inline void aqd_wide_store(unsigned char *into, __m512i blocks) { _mm512_storeu_si512(into, blocks); }
#endif

/* Four pairs, the one for the first block first. */
/*@ assigns \nothing; exits \false; */
AQD_WIDE static inline __m512i aqd_wide_four(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    return _mm512_set_epi64((long long)h, (long long)g, (long long)f, (long long)e, (long long)d, (long long)c, (long long)b, (long long)a);
}

/*@ assigns \nothing; exits \false; */
AQD_WIDE static inline __m512i aqd_wide_all(uint64_t low, uint64_t high) { return aqd_wide_four(low, high, low, high, low, high, low, high); }

/*@ assigns \nothing; exits \false; */
AQD_WIDE static inline __m512i aqd_wide_fold(__m512i blocks, __m512i by, __m512i onto)
{
    return _mm512_xor_si512(_mm512_xor_si512(_mm512_clmulepi64_epi128(blocks, by, 0x00), _mm512_clmulepi64_epi128(blocks, by, 0x11)), onto);
}

/* The first three blocks folded onto the last; and above, another block folded by 16 bytes in the
 * same multiplications: one costs as much as four. */
/*@ assigns \nothing; exits \false; */
AQD_WIDE static inline __m256i aqd_wide_to_one(__m512i blocks, __m128i beside)
{
    const __m512i by = aqd_wide_four(AQD_CRC32_FOLD_48, AQD_CRC32_FOLD_32, AQD_CRC32_FOLD_16, AQD_CRC32_FOLD_16);
    __m128i last = _mm512_extracti32x4_epi32(blocks, 3);
    __m512i x = aqd_wide_fold(_mm512_inserti32x4(blocks, beside, 3), by, _mm512_zextsi128_si512(last));
    __m256i low = _mm512_castsi512_si256(x), high = _mm512_extracti64x4_epi64(x, 1);
    return _mm256_xor_si256(high, _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1))));
}

/* 64 bytes that are passed on. */
/*@ requires \valid_read(from + (0 .. 63));
    requires \valid(into + (0 .. 63));
    assigns into[0 .. 63]; exits \false; */
AQD_WIDE static inline __m512i aqd_wide_copy_blocks(unsigned char *into, const unsigned char *from)
{
    __m512i blocks = aqd_wide_load_shared(from);
    aqd_wide_store(into, blocks);
    return blocks;
}

/* Blocks congruent to len bytes, at least 64 and a multiple of it, which are copied to into. */
/*@ requires len >= 64 && len % 64 == 0;
    requires \valid_read(from + (0 .. len - 1)) && \valid(into + (0 .. len - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_WIDE static inline __m512i aqd_wide_copy(unsigned char *into, const unsigned char *from, size_t len)
{
    __m512i z = _mm512_xor_si512(aqd_wide_copy_blocks(into, from), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)AQD_CRC32_START)));
    size_t at = AQD_WIDE_BYTES;
    if (len >= 4 * AQD_WIDE_BYTES) {
        __m512i z1 = aqd_wide_copy_blocks(into + 64, from + 64), z2 = aqd_wide_copy_blocks(into + 128, from + 128), z3 = aqd_wide_copy_blocks(into + 192, from + 192);
        /*@ loop invariant 256 <= at <= len && at % 64 == 0;
            loop assigns at, z, z1, z2, z3, into[0 .. len - 1];
            loop variant len - at; */
        for (at = 4 * AQD_WIDE_BYTES; len - at >= 4 * AQD_WIDE_BYTES; at += 4 * AQD_WIDE_BYTES) {
            const __m512i by = aqd_wide_all(AQD_CRC32_FOLD_256);
            z = aqd_wide_fold(z, by, aqd_wide_copy_blocks(into + at, from + at));
            z1 = aqd_wide_fold(z1, by, aqd_wide_copy_blocks(into + at + 64, from + at + 64));
            z2 = aqd_wide_fold(z2, by, aqd_wide_copy_blocks(into + at + 128, from + at + 128));
            z3 = aqd_wide_fold(z3, by, aqd_wide_copy_blocks(into + at + 192, from + at + 192));
        }
        z = aqd_wide_fold(z, aqd_wide_all(AQD_CRC32_FOLD_192), z3);
        z = aqd_wide_fold(z1, aqd_wide_all(AQD_CRC32_FOLD_128), z);
        z = aqd_wide_fold(z2, aqd_wide_all(AQD_CRC32_FOLD_64), z);
    }
    /*@ loop invariant 64 <= at <= len && at % 64 == 0;
        loop assigns at, z, into[0 .. len - 1];
        loop variant len - at; */
    for (; at < len; at += AQD_WIDE_BYTES) {
        z = aqd_wide_fold(z, aqd_wide_all(AQD_CRC32_FOLD_64), aqd_wide_copy_blocks(into + at, from + at));
    }
    return z;
}

/*@ requires len >= 64 && len % 64 == 0;
    requires \valid_read(from + (0 .. len - 1)) && \valid(into + (0 .. len - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_WIDE static inline uint32_t aqd_wide_copy_crc(unsigned char *into, const unsigned char *from, size_t len)
{
    return aqd_clmul_reduce(_mm256_castsi256_si128(aqd_wide_to_one(aqd_wide_copy(into, from, len), _mm_setzero_si128())));
}

/* x, then the last len bytes, less than 64, of a longer copy. */
/*@ requires len < 64;
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    requires \valid(into - 16 + (0 .. len + 15));
    assigns into[0 .. len - 1]; exits \false; */
AQD_CLMUL static inline __m128i aqd_clmul_copy_tail(__m128i x, unsigned char *into, const unsigned char *from, size_t len)
{
    size_t at = 0;
    /*@ loop invariant at <= len && at % 16 == 0;
        loop assigns at, x, into[0 .. len - 1];
        loop variant len - at; */
    for (; len - at >= 16; at += 16) {
        __m128i block = aqd_clmul_load_shared(from + at);
        aqd_clmul_store(into + at, block);
        x = _mm_xor_si128(aqd_clmul_fold(x, aqd_clmul_pair(AQD_CRC32_FOLD_16)), block);
    }
    if (at < len) {
        aqd_load_bytes(into + at, from + at, len - at);
        x = aqd_clmul_fold_tail(x, into + len, len - at);
    }
    return x;
}

/* aqd_clmul_reduce() of both: the first in the lower half. */
/*@ assigns \nothing; exits \false; */
AQD_WIDE static inline uint64_t aqd_wide_reduce_both(__m256i x)
{
    const __m256i fold16 = _mm256_broadcastsi128_si256(aqd_clmul_pair(AQD_CRC32_FOLD_16)), barrett = _mm256_broadcastsi128_si256(aqd_clmul_pair(AQD_CRC32_BARRETT));
    x = _mm256_xor_si256(_mm256_bsrli_epi128(x, 8), _mm256_clmulepi64_epi128(x, fold16, 0x10));
    x = _mm256_xor_si256(x, _mm256_clmulepi64_epi128(_mm256_clmulepi64_epi128(x, barrett, 0x10), barrett, 0x00));
    return (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}

#endif

#endif
