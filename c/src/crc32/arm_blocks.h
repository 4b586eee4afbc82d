/* Folding by eight independent vectors of 16 bytes: PMULL and PMULL2, and EOR3 where there is SHA3.
 * What folding is: clmul.h. Only included where select.h defines AQD_CRC_ARM. */
#ifndef AQUEDUCT_CRC32_ARM_BLOCKS_H
#define AQUEDUCT_CRC32_ARM_BLOCKS_H

#include "arm_words.h"

#if defined AQD_CRC_PMULL

#include <arm_neon.h>

#include "constants.h"

/* From how many bytes on vectors are used: below, the CRC32 instructions take fewer and smaller
 * steps than setting out and adding up. */
#define AQD_ARM_BLOCKS_FROM 256

/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint64x2_t aqd_vector(uint64_t low, uint64_t high);

/* The factor of the block with which the last `left` whole blocks of a message begin. */
/*@ requires 1 <= left <= AQD_CRC32_LAST;
    assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint64x2_t aqd_factor(size_t left);

/* Folds, and adds onto what is there. */
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint64x2_t aqd_fold_onto(uint64x2_t block, uint64x2_t by, uint64x2_t onto, bool eor3);

/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint64x2_t aqd_add_vectors(uint64x2_t a, uint64x2_t b);

/* The state after a block that comes after nothing but zeros. */
/*@ assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_state_of_block(uint64x2_t block);

/* Passes the 16 bytes at `at`. ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (at .. at + 15)) && (copies ==> \valid(into + (at .. at + 15)));
    assigns into[at .. (copies ? at + 15 : at - 1)]; exits \false; */
AQD_ARM_KERNEL uint64x2_t aqd_pass_block(unsigned char *into, const unsigned char *from, size_t at, bool copies);

#ifndef __FRAMAC__
AQD_ARM_KERNEL uint64x2_t aqd_vector(uint64_t low, uint64_t high) { return vcombine_u64(vcreate_u64(low), vcreate_u64(high)); }

AQD_ARM_KERNEL uint64x2_t aqd_factor(size_t left) { return vld1q_u64(aqd_crc32_factors[0][AQD_CRC32_LAST - left]); }

#if defined AQD_CRC_EOR3
AQD_ARM_KERNEL uint64x2_t aqd_xor_of_three(uint64x2_t a, uint64x2_t b, uint64x2_t c)
{
#if defined __ARM_FEATURE_SHA3
    return veor3q_u64(a, b, c);
#else
    /* GNU as takes EOR3 only if the whole file is for ARMv8.2, so its number is put together. */
    uint64x2_t sum;
    __asm__(".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n\t"
            ".equ .Laqd_q\\n, \\n\n\t.endr\n\t"
            ".inst 0xce000000 | (.Laqd_%q2 << 16) | (.Laqd_%q3 << 10) | (.Laqd_%q1 << 5) | .Laqd_%q0"
            : "=w"(sum)
            : "w"(a), "w"(b), "w"(c));
    return sum;
#endif
}
#endif

AQD_ARM_KERNEL uint64x2_t aqd_fold_onto(uint64x2_t block, uint64x2_t by, uint64x2_t onto, bool eor3)
{
    uint64x2_t low, high;
    __asm__(".arch_extension aes\n\tpmull %0.1q, %1.1d, %2.1d" : "=w"(low) : "w"(block), "w"(by));
    __asm__(".arch_extension aes\n\tpmull2 %0.1q, %1.2d, %2.2d" : "=w"(high) : "w"(block), "w"(by));
#if defined AQD_CRC_EOR3
    if (eor3) {
        return aqd_xor_of_three(low, high, onto);
    }
#endif
    (void)eor3;
    return veorq_u64(veorq_u64(low, onto), high);
}

AQD_ARM_KERNEL uint64x2_t aqd_add_vectors(uint64x2_t a, uint64x2_t b) { return veorq_u64(a, b); }

AQD_ARM_KERNEL uint32_t aqd_state_of_block(uint64x2_t block) { return aqd_step_8(aqd_step_8(0, vgetq_lane_u64(block, 0)), vgetq_lane_u64(block, 1)); }

AQD_ARM_KERNEL uint64x2_t aqd_pass_block(unsigned char *into, const unsigned char *from, size_t at, bool copies)
{
    if (!copies) {
        return vreinterpretq_u64_u8(vld1q_u8(from + at));
    }
    uint64x2_t block = *(const volatile uint64x2_t *)(const volatile void *)(from + at);
    vst1q_u8(into + at, vreinterpretq_u8_u64(block));
    return block;
}
#endif

/* Folds bytes, a multiple of 128 and not none. left: whole blocks from the last eight on. */
/*@ requires 128 <= bytes && bytes % 128 == 0 && 8 <= left <= AQD_CRC32_LAST;
    requires \valid_read(from + (0 .. bytes - 1)) && (copies ==> \valid(into + (0 .. bytes - 1)));
    assigns into[0 .. (copies ? bytes - 1 : -1)]; exits \false; */
AQD_ARM_KERNEL uint64x2_t aqd_bulk(uint32_t state, unsigned char *into, const unsigned char *from, size_t bytes, size_t left, bool copies, bool eor3)
{
    const uint64x2_t by = aqd_vector(AQD_CRC32_OVER_128);
    uint64x2_t x0 = aqd_add_vectors(aqd_vector(state, 0), aqd_pass_block(into, from, 0, copies));
    uint64x2_t x1 = aqd_pass_block(into, from, 16, copies), x2 = aqd_pass_block(into, from, 32, copies);
    uint64x2_t x3 = aqd_pass_block(into, from, 48, copies), x4 = aqd_pass_block(into, from, 64, copies);
    uint64x2_t x5 = aqd_pass_block(into, from, 80, copies), x6 = aqd_pass_block(into, from, 96, copies);
    uint64x2_t x7 = aqd_pass_block(into, from, 112, copies);
    /*@ loop invariant 128 <= at <= bytes && at % 128 == 0;
        loop assigns at, x0, x1, x2, x3, x4, x5, x6, x7, into[0 .. (copies ? bytes - 1 : -1)];
        loop variant bytes - at; */
    for (size_t at = 128; at < bytes; at += 128) {
        x0 = aqd_fold_onto(x0, by, aqd_pass_block(into, from, at, copies), eor3);
        x1 = aqd_fold_onto(x1, by, aqd_pass_block(into, from, at + 16, copies), eor3);
        x2 = aqd_fold_onto(x2, by, aqd_pass_block(into, from, at + 32, copies), eor3);
        x3 = aqd_fold_onto(x3, by, aqd_pass_block(into, from, at + 48, copies), eor3);
        x4 = aqd_fold_onto(x4, by, aqd_pass_block(into, from, at + 64, copies), eor3);
        x5 = aqd_fold_onto(x5, by, aqd_pass_block(into, from, at + 80, copies), eor3);
        x6 = aqd_fold_onto(x6, by, aqd_pass_block(into, from, at + 96, copies), eor3);
        x7 = aqd_fold_onto(x7, by, aqd_pass_block(into, from, at + 112, copies), eor3);
    }
    uint64x2_t x = aqd_fold_onto(x0, aqd_factor(left), aqd_vector(0, 0), eor3);
    x = aqd_fold_onto(x1, aqd_factor(left - 1), x, eor3);
    x = aqd_fold_onto(x2, aqd_factor(left - 2), x, eor3);
    x = aqd_fold_onto(x3, aqd_factor(left - 3), x, eor3);
    x = aqd_fold_onto(x4, aqd_factor(left - 4), x, eor3);
    x = aqd_fold_onto(x5, aqd_factor(left - 5), x, eor3);
    x = aqd_fold_onto(x6, aqd_factor(left - 6), x, eor3);
    return aqd_fold_onto(x7, aqd_factor(left - 7), x, eor3);
}

/* As aqd_state_by_8. */
/*@ requires \valid_read(from + (0 .. aqd_loaded_words(len, copies) - 1)) && (copies ==> \valid(into + (0 .. len - 1)));
    assigns into[0 .. (copies ? len - 1 : -1)]; exits \false; */
AQD_ARM_KERNEL uint32_t aqd_state_by_blocks(uint32_t state, unsigned char *into, const unsigned char *from, size_t len, bool copies, bool eor3)
{
    if (len < AQD_ARM_BLOCKS_FROM) {
        return aqd_state_from(state, into, from, 0, len, copies);
    }
    const size_t whole = len - len % 16, bulk = len - len % 128;
    size_t at = bulk;
    uint64x2_t x = aqd_bulk(state, into, from, bulk, 8 + len % 128 / 16, copies, eor3);
    /*@ loop invariant bulk <= at <= whole && at % 16 == 0;
        loop assigns at, x, into[0 .. (copies ? len - 1 : -1)];
        loop variant whole - at; */
    for (; at < whole; at += 16) {
        x = aqd_fold_onto(aqd_pass_block(into, from, at, copies), aqd_factor((whole - at) / 16), x, eor3);
    }
    return aqd_state_from(aqd_state_of_block(x), into, from, whole, len, copies);
}

#endif

#endif
