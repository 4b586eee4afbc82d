/* CRC-32/ISO-HDLC (zlib, Ethernet) of private bytes: the check of every header and payload.
 *
 * A state is what the CRC register holds between bytes: AQD_CRC32_START before the first, and the
 * CRC is the state's complement. So the state after a constant prefix is computed once. Pure; no
 * initialisation. Files: select.h chooses; table.c everywhere; clmul.c on x86-64, by the kernels
 * of blocks.h, sparse.h, pairs.h and wide.h, arm.c on AArch64, by those of arm_words.h and
 * arm_blocks.h; they also copy shared bytes, for record_load.c. */
#ifndef AQUEDUCT_CRC32_H
#define AQUEDUCT_CRC32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "select.h"

#define AQD_CRC32_START UINT32_C(0xFFFFFFFF)

#if defined AQD_CRC_HOOK
/* Defined by the program, for a processor with a CRC unit: appends len bytes to the state and
 * returns the state after them. The state is the reflected register of polynomial EDB88320, as
 * above: all ones before the first byte, not complemented; a unit that shifts to the left needs
 * bytes and state reversed. In C++, define it as extern "C". It is called wherever a ring is read,
 * so where interrupt handlers read rings too, it must guard the unit from them. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_hook(uint32_t state, const void *bytes, size_t len);
#endif

/* ---- The kernels: _table on every machine, _fast only where aqd_crc32_has_fast() ---- */

/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len);
/*@ assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_words_table(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#if defined AQD_CRC_CLMUL || defined AQD_CRC_ARM
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len);
/*@ assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* By registers of so many bytes, each only where aqd_crc32_width() is at least that. */
#if defined AQD_CRC_ARM
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_by_8(uint32_t state, const void *bytes, size_t len);
#endif
#if defined AQD_CRC_CLMUL || defined AQD_CRC_PMULL
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_by_16(uint32_t state, const void *bytes, size_t len);
#endif
#if defined AQD_CRC_PAIRS || defined AQD_CRC_EOR3
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_by_32(uint32_t state, const void *bytes, size_t len);
#endif
#if defined AQD_CRC_WIDE
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_INTERNAL uint32_t aqd_crc32_update_by_64(uint32_t state, const void *bytes, size_t len);
#endif
#else
#define aqd_crc32_update_fast aqd_crc32_update_table
#define aqd_crc32_update_words_fast aqd_crc32_update_words_table
#endif

/* Bytes of the widest registers that this build and this processor have kernels for: 16, 32, 64; 0
 * without any. On AArch64, where vectors have 16 bytes, 8 are the CRC32 instructions, 16 these and
 * PMULL, and 32 these and EOR3, which adds three vectors at once. */
#if defined AQD_CRC_ARM
/*@ assigns \nothing; exits \false;
    ensures \result == 0 || \result == 8 || \result == 16 || \result == 32; */
AQD_INTERNAL unsigned aqd_crc32_width(void);

/*@ assigns \nothing; exits \false; */
static inline bool aqd_crc32_has_fast(void) { return aqd_crc32_width() > 0; }
#else
/*@ assigns \nothing; exits \false; */
static inline bool aqd_crc32_has_fast(void)
{
#if !defined AQD_CRC_CLMUL
    return false;
#elif defined __PCLMUL__ && defined __SSE4_1__
    return true;
#else
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

/*@ assigns \nothing; exits \false;
    ensures \result == 0 || \result == 16 || \result == 32 || \result == 64; */
static inline unsigned aqd_crc32_width(void)
{
#if defined AQD_CRC_WIDE
#if defined __VPCLMULQDQ__ && defined __AVX512VL__
    return 64;
#else
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq")) {
        return 64;
    }
#endif
#endif
#if defined AQD_CRC_PAIRS
#if defined __VPCLMULQDQ__ && defined __AVX2__
    return 32;
#else
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("vpclmulqdq")) {
        return 32;
    }
#endif
#endif
#if defined AQD_CRC_CLMUL
    return aqd_crc32_has_fast() ? 16 : 0;
#else
    return 0;
#endif
}
#endif

/* ---- What the library calls ---- */

/* The state after len more bytes. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
static inline uint32_t aqd_crc32_update(uint32_t state, const void *bytes, size_t len)
{
    return aqd_crc32_has_fast() ? aqd_crc32_update_fast(state, bytes, len) : aqd_crc32_update_table(state, bytes, len);
}

/* The state after 32 more bytes, given as four little-endian numbers: a record header without a
 * trip through memory. */
/*@ assigns \nothing; exits \false; */
static inline uint32_t aqd_crc32_update_words(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return aqd_crc32_has_fast() ? aqd_crc32_update_words_fast(state, a, b, c, d) : aqd_crc32_update_words_table(state, a, b, c, d);
}

/* CRC-32 of len bytes; of "123456789" it is 0xCBF43926. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
static inline uint32_t aqd_crc32(const void *bytes, size_t len) { return ~aqd_crc32_update(AQD_CRC32_START, bytes, len); }

#endif
