/* CRC-32/ISO-HDLC of private bytes by carry-less multiplication, on x86-64. Contract: crc32.h. */
#include "../compiler.h"

#include "../load.h"
#include "constants.h"
#include "crc32.h"

#if defined AQD_CRC_CLMUL

#include "sparse.h"
#include "wide.h"

/*@ requires AQD_SPARSE_LONG <= len && \valid_read(bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
AQD_BY_16 AQD_COLD static uint32_t update_long_by_16(uint32_t state, const unsigned char *bytes, size_t len)
{
    return aqd_divide(aqd_sum_long(state, NULL, bytes, len, false));
}

AQD_BY_16 uint32_t aqd_crc32_update_by_16(uint32_t state, const void *bytes, size_t len)
{
    if (AQD_UNLIKELY(len >= AQD_SPARSE_LONG)) {
        return update_long_by_16(state, (const unsigned char *)bytes, len);
    }
    return aqd_divide(aqd_sum_by_16(state, NULL, (const unsigned char *)bytes, len, false));
}

#if defined AQD_CRC_PAIRS
AQD_BY_32 uint32_t aqd_crc32_update_by_32(uint32_t state, const void *bytes, size_t len)
{
    return aqd_divide(aqd_sum_by_32(state, NULL, (const unsigned char *)bytes, len, false));
}
#endif

#if defined AQD_CRC_WIDE
AQD_BY_64 uint32_t aqd_crc32_update_by_64(uint32_t state, const void *bytes, size_t len)
{
    return aqd_divide(aqd_sum_by_64(state, NULL, (const unsigned char *)bytes, len, false));
}
#endif

uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len)
{
    const unsigned width = aqd_crc32_width();
    (void)width;
#if defined AQD_CRC_WIDE
    if (width == 64) {
        return aqd_crc32_update_by_64(state, bytes, len);
    }
#endif
#if defined AQD_CRC_PAIRS
    if (width == 32) {
        return aqd_crc32_update_by_32(state, bytes, len);
    }
#endif
    return aqd_crc32_update_by_16(state, bytes, len);
}

AQD_BY_16 uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return aqd_divide(aqd_sum_two_by_16(aqd_pair(a ^ state, b), aqd_pair(c, d)));
}

#else

/* ISO C does not allow an empty translation unit. */
extern int aqd_crc32_clmul_is_not_built;

#endif
