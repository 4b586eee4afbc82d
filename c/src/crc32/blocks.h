/* The sum of a message by registers of one block: PCLMULQDQ. Only included where select.h defines
 * AQD_CRC_CLMUL. */
#ifndef AQUEDUCT_CRC32_BLOCKS_H
#define AQUEDUCT_CRC32_BLOCKS_H

#include "copy.h"

/* The sum of a message of which whole blocks were folded to x, by aqd_factor_16 and the like; its
 * last n bytes are at `at`. */
/*@ requires n < 16;
    requires \valid_read(from + (at .. at + aqd_loaded(n, copies) - 1));
    requires copies ==> \valid(into + (at .. at + n - 1));
    assigns into[at .. (copies ? at + n - 1 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_finish(__m128i x, unsigned char *into, const unsigned char *from, size_t at, size_t n, bool copies)
{
    if (n == 0) {
        return x;
    }
    __m128i tail = aqd_pass_tail(into, from, at, n, copies);
    return aqd_add(aqd_fold(x, aqd_before_tail_factor(n)), aqd_fold(tail, aqd_tail_factor(n)));
}

/* The sum of a message of at least a block, from a state; what passes is copied to into if it
 * copies. */
/*@ requires len >= 16;
    requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_sum_blocks(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    const size_t tail = len % 16, whole = len - tail;
    const bool ends = tail == 0;
    __m128i x = aqd_add(aqd_pass_16(into, from, 0, copies), _mm_cvtsi32_si128((int)state));
    size_t at = 16;
    if (whole >= 64) {
        __m128i x1 = aqd_pass_16(into, from, 16, copies), x2 = aqd_pass_16(into, from, 32, copies), x3 = aqd_pass_16(into, from, 48, copies);
        /*@ loop invariant 64 <= at <= whole && at % 16 == 0;
            loop assigns at, x, x1, x2, x3, into[0 .. (copies ? len - 1 : -1)];
            loop variant whole - at; */
        for (at = 64; whole - at >= 64; at += 64) {
            const __m128i by = aqd_pair(AQD_CRC32_OVER_64);
            x = aqd_add(aqd_fold(x, by), aqd_pass_16(into, from, at, copies));
            x1 = aqd_add(aqd_fold(x1, by), aqd_pass_16(into, from, at + 16, copies));
            x2 = aqd_add(aqd_fold(x2, by), aqd_pass_16(into, from, at + 32, copies));
            x3 = aqd_add(aqd_fold(x3, by), aqd_pass_16(into, from, at + 48, copies));
        }
        const size_t left = 4 + (whole - at) / 16;
        x = aqd_add(aqd_fold(x, aqd_factor_16(ends, left)), aqd_fold(x1, aqd_factor_16(ends, left - 1)));
        x2 = aqd_add(aqd_fold(x2, aqd_factor_16(ends, left - 2)), aqd_fold(x3, aqd_factor_16(ends, left - 3)));
        x = aqd_add(x, x2);
    } else {
        x = aqd_fold(x, aqd_factor_16(ends, whole / 16));
    }
    /*@ loop invariant 16 <= at <= whole && at % 16 == 0 && whole - at < 64;
        loop assigns at, x, into[0 .. (copies ? len - 1 : -1)];
        loop variant whole - at; */
    for (; at < whole; at += 16) {
        x = aqd_add(x, aqd_fold(aqd_pass_16(into, from, at, copies), aqd_factor_16(ends, (whole - at) / 16)));
    }
    return aqd_finish(x, into, from, whole, tail, copies);
}

/* The same of any message. */
/*@ requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_sum_by_16(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    if (len >= 16) {
        return aqd_sum_blocks(state, into, from, len, copies);
    }
    __m128i x = _mm_cvtsi32_si128((int)state);
    if (len > 0) {
        x = aqd_add(x, aqd_pass_tail(into, from, 0, len, copies));
    }
    return aqd_fold(x, aqd_tail_factor(len));
}

#endif
