/* The CRC32 instructions of AArch64, eight bytes in one step: each waits for the one before it, so
 * long messages go by three lanes. And bytes of a message on their way: private ones, which are
 * only loaded, or shared ones, each of which is loaded once and stored before it is checked. Only
 * included where select.h defines AQD_CRC_ARM. */
#ifndef AQUEDUCT_CRC32_ARM_WORDS_H
#define AQUEDUCT_CRC32_ARM_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../load.h"
#include "lanes.h"

/* Kernels take whether they copy as a constant. */
#define AQD_ARM_KERNEL static inline __attribute__((always_inline))

/* How far a message of len bytes may be loaded: a copy loads whole words. */
/*@ logic integer aqd_loaded_words(integer len, integer copies) = copies != 0 ? (len + 7) / 8 * 8 : len; */

/* The state after 8, 4, 2, 1 bytes more. By assembler, for the intrinsics exist only if the whole
 * file is compiled for a processor that has the instructions. */
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_step_8(uint32_t state, uint64_t word);
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_step_4(uint32_t state, uint32_t word);
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_step_2(uint32_t state, uint32_t word);
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_step_1(uint32_t state, uint32_t word);

#ifndef __FRAMAC__
AQD_ARM_KERNEL uint32_t aqd_step_8(uint32_t state, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32x %w0, %w0, %x1" : "+r"(state) : "r"(word));
    return state;
}

AQD_ARM_KERNEL uint32_t aqd_step_4(uint32_t state, uint32_t word)
{
    __asm__(".arch_extension crc\n\tcrc32w %w0, %w0, %w1" : "+r"(state) : "r"(word));
    return state;
}

AQD_ARM_KERNEL uint32_t aqd_step_2(uint32_t state, uint32_t word)
{
    __asm__(".arch_extension crc\n\tcrc32h %w0, %w0, %w1" : "+r"(state) : "r"(word));
    return state;
}

AQD_ARM_KERNEL uint32_t aqd_step_1(uint32_t state, uint32_t word)
{
    __asm__(".arch_extension crc\n\tcrc32b %w0, %w0, %w1" : "+r"(state) : "r"(word));
    return state;
}
#endif

/* Passes the 8 bytes at `at`. */
/*@ requires \valid_read(from + (at .. at + 7)) && (copies ==> \valid(into + (at .. at + 7)));
    assigns into[at .. (copies ? at + 7 : at - 1)]; exits \false; */
AQD_ARM_KERNEL uint64_t aqd_pass_word(unsigned char *into, const unsigned char *from, size_t at, bool copies)
{
    if (!copies) {
        return aqd_get64(from + at);
    }
    uint64_t word = aqd_load_word(from + at);
    aqd_put64(into + at, word);
    return word;
}

/* Passes the last n bytes of a message, at `at`, and fills the word up with zeros. */
/*@ requires 1 <= n <= 7;
    requires \valid_read(from + (at .. at + aqd_loaded_words(n, copies) - 1));
    requires copies ==> \valid(into + (at .. at + n - 1));
    assigns into[at .. (copies ? at + n - 1 : at - 1)]; exits \false; */
AQD_ARM_KERNEL uint64_t aqd_pass_few(unsigned char *into, const unsigned char *from, size_t at, size_t n, bool copies)
{
    if (!copies) {
        uint64_t first, last;
        size_t part = n >= 4 ? 4 : n >= 2 ? 2 : 1;
        if (n >= 4) {
            first = aqd_get32(from + at);
            last = aqd_get32(from + at + n - 4);
        } else if (n >= 2) {
            first = aqd_get16(from + at);
            last = aqd_get16(from + at + n - 2);
        } else {
            first = last = from[at];
        }
        return first | last << 8 * (n - part);
    }
    uint64_t word = aqd_load_word(from + at) & UINT64_MAX >> 8 * (8 - n);
    if (n >= 4) {
        aqd_put32(into + at, (uint32_t)word);
        aqd_put32(into + at + n - 4, (uint32_t)(word >> 8 * (n - 4)));
    } else if (n >= 2) {
        aqd_put16(into + at, (uint16_t)word);
        aqd_put16(into + at + n - 2, (uint16_t)(word >> 8 * (n - 2)));
    } else {
        into[at] = (unsigned char)word;
    }
    return word;
}

/* The state after the bytes of a message from `at` on. */
/*@ requires at <= len && at % 8 == 0;
    requires \valid_read(from + (at .. aqd_loaded_words(len, copies) - 1));
    requires copies ==> \valid(into + (at .. len - 1));
    assigns into[at .. (copies ? len - 1 : at - 1)]; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_state_from(uint32_t state, unsigned char *into, const unsigned char *from, size_t at, size_t len, bool copies)
{
    /*@ loop invariant \at(at, Pre) <= at <= len && at % 8 == 0;
        loop assigns at, state, into[\at(at, Pre) .. (copies ? len - 1 : \at(at, Pre) - 1)];
        loop variant len - at; */
    for (; len - at >= 8; at += 8) {
        state = aqd_step_8(state, aqd_pass_word(into, from, at, copies));
    }
    size_t n = len - at;
    if (n > 0) {
        uint64_t few = aqd_pass_few(into, from, at, n, copies);
        if (n & 4) {
            state = aqd_step_4(state, (uint32_t)few);
            few >>= 32;
        }
        if (n & 2) {
            state = aqd_step_2(state, (uint32_t)few);
            few >>= 16;
        }
        if (n & 1) {
            state = aqd_step_1(state, (uint32_t)few);
        }
    }
    return state;
}

/* The state moved on over the bytes of a lane, as if they were zeros. */
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_over_lane(unsigned lane, uint32_t state);

#ifndef __FRAMAC__
AQD_ARM_KERNEL uint32_t aqd_over_lane(unsigned lane, uint32_t state)
{
    const uint32_t(*moved)[16] = aqd_crc32_lanes[lane];
    return moved[0][state & 15] ^ moved[1][state >> 4 & 15] ^ moved[2][state >> 8 & 15] ^ moved[3][state >> 12 & 15] ^ moved[4][state >> 16 & 15]
           ^ moved[5][state >> 20 & 15] ^ moved[6][state >> 24 & 15] ^ moved[7][state >> 28];
}
#endif

/* The state after three lanes of `bytes` each, side by side. */
/*@ requires lane <= 1 && bytes % 8 == 0 && 0 < bytes <= 2048;
    requires \valid_read(from + (0 .. 3 * bytes - 1)) && (copies ==> \valid(into + (0 .. 3 * bytes - 1)));
    assigns into[0 .. (copies ? 3 * bytes - 1 : -1)]; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_three_lanes(unsigned lane, size_t bytes, uint32_t state, unsigned char *into, const unsigned char *from, bool copies)
{
    uint32_t second = 0, third = 0;
    /*@ loop invariant at <= bytes && at % 8 == 0;
        loop assigns at, state, second, third, into[0 .. (copies ? 3 * bytes - 1 : -1)];
        loop variant bytes - at; */
    for (size_t at = 0; at < bytes; at += 8) {
        state = aqd_step_8(state, aqd_pass_word(into, from, at, copies));
        second = aqd_step_8(second, aqd_pass_word(into, from, at + bytes, copies));
        third = aqd_step_8(third, aqd_pass_word(into, from, at + 2 * bytes, copies));
    }
    return aqd_over_lane(lane, aqd_over_lane(lane, state) ^ second) ^ third;
}

/* The state after a message; what passes is copied to into if it copies. */
/*@ requires \valid_read(from + (0 .. aqd_loaded_words(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_state_by_8(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies)
{
    size_t at = 0;
    /*@ loop invariant at <= len && at % 8 == 0;
        loop assigns at, state, into[0 .. (copies ? len - 1 : -1)];
        loop variant len - at; */
    for (; len - at >= 3 * AQD_CRC32_LONG_LANE; at += 3 * AQD_CRC32_LONG_LANE) {
        state = aqd_three_lanes(1, AQD_CRC32_LONG_LANE, state, copies ? into + at : into, from + at, copies);
    }
    /*@ loop invariant at <= len && at % 8 == 0;
        loop assigns at, state, into[0 .. (copies ? len - 1 : -1)];
        loop variant len - at; */
    for (; len - at >= 3 * AQD_CRC32_SHORT_LANE; at += 3 * AQD_CRC32_SHORT_LANE) {
        state = aqd_three_lanes(0, AQD_CRC32_SHORT_LANE, state, copies ? into + at : into, from + at, copies);
    }
    return aqd_state_from(state, into, from, at, len, copies);
}

#endif
