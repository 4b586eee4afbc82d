/* The vectors of crc32/arm_blocks.h for the proof: values that mean nothing. The functions that
 * make them and access memory have contracts there and no body here. */
#ifndef AQUEDUCT_PROOF_ARM_NEON_H
#define AQUEDUCT_PROOF_ARM_NEON_H

typedef struct {
    unsigned long long low, high;
} uint64x2_t;

#endif
