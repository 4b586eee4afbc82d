/* CRC-32/ISO-HDLC by PCLMULQDQ, on x86-64. Contract: crc32.h. */
#include "../compiler.h"

#include "crc32.h"

#if defined AQD_CRC_CLMUL

#include "clmul.h"

AQD_CLMUL uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    if (len < 16) {
        return aqd_crc32_update_table(state, at, len);
    }
    const __m128i fold16 = aqd_clmul_pair(AQD_CRC32_FOLD_16);
    __m128i x = _mm_xor_si128(aqd_clmul_load(at), _mm_cvtsi32_si128((int)state));
    if (len >= 64) {
        __m128i x1 = aqd_clmul_load(at + 16), x2 = aqd_clmul_load(at + 32), x3 = aqd_clmul_load(at + 48);
        /*@ loop invariant \valid_read(at - 16 + (0 .. len + 15));
            loop assigns at, len, x, x1, x2, x3;
            loop variant len; */
        for (at += 64, len -= 64; len >= 64; at += 64, len -= 64) {
            const __m128i fold64 = aqd_clmul_pair(AQD_CRC32_FOLD_64);
            x = _mm_xor_si128(aqd_clmul_fold(x, fold64), aqd_clmul_load(at));
            x1 = _mm_xor_si128(aqd_clmul_fold(x1, fold64), aqd_clmul_load(at + 16));
            x2 = _mm_xor_si128(aqd_clmul_fold(x2, fold64), aqd_clmul_load(at + 32));
            x3 = _mm_xor_si128(aqd_clmul_fold(x3, fold64), aqd_clmul_load(at + 48));
        }
        x = _mm_xor_si128(aqd_clmul_fold(x, aqd_clmul_pair(AQD_CRC32_FOLD_48)), aqd_clmul_fold(x1, aqd_clmul_pair(AQD_CRC32_FOLD_32)));
        x = _mm_xor_si128(x, _mm_xor_si128(aqd_clmul_fold(x2, fold16), x3));
    } else {
        at += 16;
        len -= 16;
    }
    /*@ loop invariant \valid_read(at - 16 + (0 .. len + 15));
        loop assigns at, len, x;
        loop variant len; */
    for (; len >= 16; at += 16, len -= 16) {
        x = _mm_xor_si128(aqd_clmul_fold(x, fold16), aqd_clmul_load(at));
    }
    if (len > 0) {
        x = aqd_clmul_fold_tail(x, at + len, len);
    }
    return aqd_clmul_reduce(x);
}

AQD_CLMUL uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return aqd_clmul_reduce(_mm_xor_si128(aqd_clmul_fold(aqd_clmul_pair(a ^ state, b), aqd_clmul_pair(AQD_CRC32_FOLD_16)), aqd_clmul_pair(c, d)));
}

#else

/* ISO C wants a declaration in every file. */
extern int aqd_crc32_clmul_is_not_built;

#endif
