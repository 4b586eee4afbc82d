/* Little-endian integers in private bytes, at any alignment, on any host. Shared bytes are load.h's
 * job. */
#ifndef AQUEDUCT_BYTES_H
#define AQUEDUCT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compiler.h"

/* The comments with an @, here and in the other files, are contracts for the proof: verify/c_proof.
 * The axioms are facts of binary numbers that its provers do not know. */
/*@ axiomatic aqd_numbers {
        axiom and_is_no_more: \forall integer x, y; 0 <= x && 0 <= y ==> 0 <= (x & y) <= y;
        axiom wraps_below: \forall integer x; -0x10000000000000000 <= x < 0 ==> (uint64_t)x == x + 0x10000000000000000;
        axiom wraps_above: \forall integer x; 0x10000000000000000 <= x < 0x20000000000000000
                                              ==> (uint64_t)x == x - 0x10000000000000000;
    } */

/*@ assigns \nothing; exits \false; */
static inline uint16_t aqd_le16(uint16_t v);
/*@ assigns \nothing; exits \false; */
static inline uint32_t aqd_le32(uint32_t v);
/*@ assigns \nothing; exits \false; */
static inline uint64_t aqd_le64(uint64_t v);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
static inline uint16_t aqd_le16(uint16_t v) { return __builtin_bswap16(v); }
static inline uint32_t aqd_le32(uint32_t v) { return __builtin_bswap32(v); }
static inline uint64_t aqd_le64(uint64_t v) { return __builtin_bswap64(v); }
#else
static inline uint16_t aqd_le16(uint16_t v) { return v; }
static inline uint32_t aqd_le32(uint32_t v) { return v; }
static inline uint64_t aqd_le64(uint64_t v) { return v; }
#endif

/* Byte by byte, which compilers make one access of. */
/*@ logic integer aqd_u32(unsigned char *at) =
        at[0] | (uint32_t)(at[1] << 8) | (uint32_t)(at[2] << 16) | (uint32_t)(at[3] << 24); */

/*@ requires \valid_read(from + (0 .. 1));
    assigns \nothing; exits \false; */
static inline uint16_t aqd_get16(const unsigned char *from) { return (uint16_t)(from[0] | (uint32_t)from[1] << 8); }

/*@ requires \valid_read(from + (0 .. 3));
    assigns \nothing; exits \false;
    ensures \result == aqd_u32(from); */
static inline uint32_t aqd_get32(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/*@ requires \valid_read(from + (0 .. 7));
    assigns \nothing; exits \false; */
static inline uint64_t aqd_get64(const unsigned char *from) { return aqd_get32(from) | (uint64_t)aqd_get32(from + 4) << 32; }

/*@ requires \valid(into + (0 .. 1));
    assigns into[0 .. 1]; exits \false; */
static inline void aqd_put16(unsigned char *into, uint16_t v)
{
    into[0] = (unsigned char)v;
    into[1] = (unsigned char)(v >> 8);
}

/*@ requires \valid(into + (0 .. 3));
    assigns into[0 .. 3]; exits \false; */
static inline void aqd_put32(unsigned char *into, uint32_t v)
{
    into[0] = (unsigned char)v;
    into[1] = (unsigned char)(v >> 8);
    into[2] = (unsigned char)(v >> 16);
    into[3] = (unsigned char)(v >> 24);
}

/*@ requires \valid(into + (0 .. 7));
    assigns into[0 .. 7]; exits \false; */
static inline void aqd_put64(unsigned char *into, uint64_t v)
{
    aqd_put32(into, (uint32_t)v);
    aqd_put32(into + 4, (uint32_t)(v >> 32));
}

/*@ requires \valid_read(a + (0 .. len - 1)) && \valid_read(b + (0 .. len - 1));
    assigns \nothing; exits \false; */
static inline bool aqd_same_bytes(const unsigned char *a, const char *b, size_t len)
{
    size_t i = 0;
    /*@ loop invariant i <= len;
        loop assigns i;
        loop variant len - i; */
    while (i < len && a[i] == (unsigned char)b[i]) {
        i++;
    }
    return i == len;
}

#endif
