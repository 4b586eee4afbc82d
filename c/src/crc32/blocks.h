/* The sum of a message by registers of one block: PCLMULQDQ. Only included where select.h defines
 * AQD_CRC_CLMUL. */
#ifndef AQUEDUCT_CRC32_BLOCKS_H
#define AQUEDUCT_CRC32_BLOCKS_H

#include "copy.h"

/* The sum of a message whose bytes before `at` were folded to x, by aqd_factor_16 and the like;
 * fewer than 64 are left. */
/*@ requires at <= len && len - at < 64 && at % 16 == 0;
    requires \valid_read(from + (at .. aqd_loaded(len, copies) - 1));
    requires copies ==> \valid(into + (at .. len - 1));
    assigns into[at .. (copies ? len - 1 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_finish(__m128i x, unsigned char *into, const unsigned char *from, size_t at, size_t len, bool copies)
{
    const size_t tail = len % 16, whole = len - tail;
    /*@ loop invariant \at(at, Pre) <= at <= whole && at % 16 == 0;
        loop assigns at, x, into[\at(at, Pre) .. (copies ? len - 1 : \at(at, Pre) - 1)];
        loop variant whole - at; */
    for (; at < whole; at += 16) {
        x = aqd_add(x, aqd_fold(aqd_pass_16(into, from, at, copies), aqd_factor_16(tail == 0, (whole - at) / 16)));
    }
    if (tail == 0) {
        return x;
    }
    __m128i last = aqd_pass_tail(into, from, whole, tail, copies);
    return aqd_add(aqd_fold(x, aqd_before_tail_factor(tail)), aqd_fold(last, aqd_tail_factor(tail)));
}

/* Folds the bytes from `at` to `end`, a multiple of 64, to four registers, and these to one. left:
 * whole blocks from the last four on. */
/*@ requires at <= end && (end - at) % 64 == 0 && 4 <= left <= AQD_CRC32_LAST;
    requires \valid_read(from + (at .. end - 1)) && (copies ==> \valid(into + (at .. end - 1)));
    assigns into[at .. (copies ? end - 1 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_bulk_on_16(__m128i x, __m128i x1, __m128i x2, __m128i x3, unsigned char *into, const unsigned char *from, size_t at, size_t end,
                                            size_t left, bool copies)
{
    const __m128i by = aqd_pair(AQD_CRC32_OVER_64);
    /*@ loop invariant \at(at, Pre) <= at <= end && (end - at) % 64 == 0;
        loop assigns at, x, x1, x2, x3, into[\at(at, Pre) .. (copies ? end - 1 : \at(at, Pre) - 1)];
        loop variant end - at; */
    for (; at < end; at += 64) {
        x = aqd_add(aqd_fold(x, by), aqd_pass_16(into, from, at, copies));
        x1 = aqd_add(aqd_fold(x1, by), aqd_pass_16(into, from, at + 16, copies));
        x2 = aqd_add(aqd_fold(x2, by), aqd_pass_16(into, from, at + 32, copies));
        x3 = aqd_add(aqd_fold(x3, by), aqd_pass_16(into, from, at + 48, copies));
    }
    x = aqd_add(aqd_fold(x, aqd_factor_16(false, left)), aqd_fold(x1, aqd_factor_16(false, left - 1)));
    x2 = aqd_add(aqd_fold(x2, aqd_factor_16(false, left - 2)), left == 4 ? x3 : aqd_fold(x3, aqd_factor_16(false, left - 3)));
    return aqd_add(x, x2);
}

/* Folds bytes, a multiple of 64 and not none, by four independent registers, which x begins. left:
 * whole blocks from the last four on. */
/*@ requires 64 <= bytes && bytes % 64 == 0 && 4 <= left <= AQD_CRC32_LAST;
    requires \valid_read(from + (0 .. bytes - 1)) && (copies ==> \valid(into + (0 .. bytes - 1)));
    assigns into[0 .. (copies ? bytes - 1 : -1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_bulk_16(__m128i x, unsigned char *into, const unsigned char *from, size_t bytes, size_t left, bool copies)
{
    __m128i x1 = aqd_pass_16(into, from, 16, copies), x2 = aqd_pass_16(into, from, 32, copies), x3 = aqd_pass_16(into, from, 48, copies);
    x = aqd_add(x, aqd_pass_16(into, from, 0, copies));
    return aqd_bulk_on_16(x, x1, x2, x3, into, from, 64, bytes, left, copies);
}

/* The sum of a message whose bytes before `at` were folded to x, in the place of its last whole
 * block, by aqd_factor_16; fewer than 64 are left. That block is in its place already: it is not
 * multiplied. */
/*@ requires at <= len && len - at < 64 && at % 16 == 0;
    requires \valid_read(from + (at .. aqd_loaded(len, copies) - 1));
    requires copies ==> \valid(into + (at .. len - 1));
    assigns into[at .. (copies ? len - 1 : at - 1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_finish_16(__m128i x, unsigned char *into, const unsigned char *from, size_t at, size_t len, bool copies)
{
    const size_t tail = len % 16, whole = len - tail;
    /*@ loop invariant \at(at, Pre) <= at <= whole && at % 16 == 0;
        loop assigns at, x, into[\at(at, Pre) .. (copies ? len - 1 : \at(at, Pre) - 1)];
        loop variant whole - at; */
    for (; whole - at >= 32; at += 16) {
        x = aqd_add(x, aqd_fold(aqd_pass_16(into, from, at, copies), aqd_factor_16(false, (whole - at) / 16)));
    }
    if (at < whole) {
        x = aqd_add(x, aqd_pass_16(into, from, at, copies));
    }
    if (tail == 0) {
        return aqd_shorten(x);
    }
    __m128i last = aqd_pass_tail(into, from, whole, tail, copies);
    return aqd_add(aqd_fold(x, aqd_before_tail_factor(tail)), aqd_fold(last, aqd_tail_factor(tail)));
}

/* The sum of a message from a state; what passes is copied to into if it copies. */
/*@ requires \valid_read(from + (0 .. aqd_loaded(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_BY_16 AQD_KERNEL __m128i aqd_sum_by_16(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    const size_t bulk = len - len % 64;
    __m128i x = _mm_cvtsi32_si128((int)state);
    if (bulk > 0) {
        x = aqd_bulk_16(x, into, from, bulk, 4 + len % 64 / 16, copies);
        return aqd_finish_16(x, into, from, bulk, len, copies);
    }
    if (len >= 16) {
        x = aqd_add(x, aqd_pass_16(into, from, 0, copies));
        if (len >= 32) {
            x = aqd_fold(x, aqd_factor_16(false, len / 16));
        }
        return aqd_finish_16(x, into, from, 16, len, copies);
    }
    if (len > 0) {
        x = aqd_add(x, aqd_pass_tail(into, from, 0, len, copies));
    }
    return aqd_fold(x, aqd_tail_factor(len));
}

#endif
