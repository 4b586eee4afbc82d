/* Included before every source: lets a target act before each load of a control word, and choose
 * how wide the registers are by which record bytes are loaded. */
#include "compiler.h"

#include "crc32/crc32.h"
#include "load.h"

uint32_t aqd_fuzz_crc_width(void);

/* The width that the target allows, if there are kernels for it, or the next narrower one. */
#if defined AQD_CRC_ARM
#define AQD_FUZZ_NARROWEST 8
#else
#define AQD_FUZZ_NARROWEST 16
#endif

static inline unsigned aqd_fuzz_crc32_width(void)
{
    unsigned width = aqd_crc32_width();
    while (width > aqd_fuzz_crc_width()) {
        width = width > 16 ? width / 2 : width == 16 && AQD_FUZZ_NARROWEST == 8 ? 8 : 0;
    }
    return width;
}

void aqd_fuzz_before_load(void);

static inline uint32_t aqd_fuzz_load_acquire(const unsigned char *word)
{
    aqd_fuzz_before_load();
    return aqd_load_acquire(word);
}

static inline uint32_t aqd_fuzz_load_relaxed(const unsigned char *word)
{
    aqd_fuzz_before_load();
    return aqd_load_relaxed(word);
}

#define aqd_load_acquire aqd_fuzz_load_acquire
#define aqd_load_relaxed aqd_fuzz_load_relaxed
#define aqd_crc32_width aqd_fuzz_crc32_width
