/* CRC-32/ISO-HDLC by the CRC32 instructions of AArch64. Contract: crc32.h. */
#include "../compiler.h"

#include "crc32.h"

#if defined AQD_CRC_ARM

#include "../bytes.h"

#if !defined __ARM_FEATURE_CRC32
#include <sys/auxv.h>
#define AQD_HWCAP_CRC32 (1UL << 7) /* HWCAP_CRC32 of <asm/hwcap.h> */
#endif

/* By assembler, for the intrinsics exist only if the whole file is compiled for a processor that
 * has the instructions. */
static inline uint32_t crc_word(uint32_t state, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32x %w0, %w0, %x1" : "+r"(state) : "r"(word));
    return state;
}

static inline uint32_t crc_byte(uint32_t state, uint32_t byte)
{
    __asm__(".arch_extension crc\n\tcrc32b %w0, %w0, %w1" : "+r"(state) : "r"(byte));
    return state;
}

bool aqd_crc32_has_fast(void)
{
#if defined __ARM_FEATURE_CRC32
    return true;
#else
    /* 1 unknown, 2 no, 3 yes. Any thread finds the same, so it does not matter who stores it. */
    static unsigned char known = 1;
    unsigned char answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == 1) {
        answer = getauxval(AT_HWCAP) & AQD_HWCAP_CRC32 ? 3 : 2;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 3;
#endif
}

uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    for (; len >= 8; at += 8, len -= 8) {
        state = crc_word(state, aqd_get64(at));
    }
    for (; len > 0; at++, len--) {
        state = crc_byte(state, *at);
    }
    return state;
}

uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return crc_word(crc_word(crc_word(crc_word(state, a), b), c), d);
}

#else

/* ISO C wants a declaration in every file. */
extern int aqd_crc32_arm_is_not_built;

#endif
