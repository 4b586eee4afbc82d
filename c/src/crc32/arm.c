/* CRC-32/ISO-HDLC of private bytes on AArch64. Contract: crc32.h. */
#include "../compiler.h"

#include "crc32.h"

#if defined AQD_CRC_ARM

#include "arm_blocks.h"

#if __STDC_HOSTED__ && defined __linux__ && !defined __FRAMAC__
#include <sys/auxv.h>
#endif

/* The widest kernel that may run here (see aqd_crc32_width), by what Linux says of the processor;
 * elsewhere by what the compiler was told. */
/*@ assigns \nothing; exits \false;
    ensures \result == 0 || \result == 8 || \result == 16 || \result == 32; */
static unsigned widest(void);

#ifndef __FRAMAC__
static unsigned widest(void)
{
#if __STDC_HOSTED__ && defined __linux__
    /* HWCAP_PMULL, HWCAP_CRC32 and HWCAP_SHA3, which not every <asm/hwcap.h> has. */
    const unsigned long hwcap = getauxval(AT_HWCAP), pmull_bit = 1UL << 4, crc32_bit = 1UL << 7, sha3_bit = 1UL << 17;
    bool crc32 = hwcap & crc32_bit, pmull = hwcap & pmull_bit, sha3 = hwcap & sha3_bit;
#else
    bool crc32 = true, pmull = true, sha3 = true; /* select.h has asked the compiler. */
#endif
    (void)pmull, (void)sha3;
#if defined AQD_CRC_EOR3
    if (crc32 && pmull && sha3) {
        return 32;
    }
#endif
#if defined AQD_CRC_PMULL
    if (crc32 && pmull) {
        return 16;
    }
#endif
    return crc32 ? 8 : 0;
}
#endif

unsigned aqd_crc32_width(void)
{
#if !(__STDC_HOSTED__ && defined __linux__) || defined __FRAMAC__
    return widest();
#else
    /* 1: not known yet. Every thread finds the same, so it does not matter which one stores it. */
    static unsigned char known = 1;
    /* ORDER(none): nothing else is read because of it. */
    unsigned char width = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (width == 1) {
        width = (unsigned char)widest();
        __atomic_store_n(&known, width, __ATOMIC_RELAXED);
    }
    return width;
#endif
}

uint32_t aqd_crc32_update_by_8(uint32_t state, const void *bytes, size_t len)
{
    return aqd_state_by_8(state, NULL, (const unsigned char *)bytes, len, false);
}

#if defined AQD_CRC_PMULL
uint32_t aqd_crc32_update_by_16(uint32_t state, const void *bytes, size_t len)
{
    return aqd_state_by_blocks(state, NULL, (const unsigned char *)bytes, len, false, false);
}
#endif

#if defined AQD_CRC_EOR3
uint32_t aqd_crc32_update_by_32(uint32_t state, const void *bytes, size_t len)
{
    return aqd_state_by_blocks(state, NULL, (const unsigned char *)bytes, len, false, true);
}
#endif

uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len)
{
    const unsigned width = aqd_crc32_width();
    (void)width;
#if defined AQD_CRC_EOR3
    if (width == 32) {
        return aqd_crc32_update_by_32(state, bytes, len);
    }
#endif
#if defined AQD_CRC_PMULL
    if (width == 16) {
        return aqd_crc32_update_by_16(state, bytes, len);
    }
#endif
    return aqd_crc32_update_by_8(state, bytes, len);
}

uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return aqd_step_8(aqd_step_8(aqd_step_8(aqd_step_8(state, a), b), c), d);
}

#else

/* ISO C does not allow an empty translation unit. */
extern int aqd_crc32_arm_is_not_built;

#endif
