/* Included before every source: lets a target act before each load of a control word. Record bytes
 * are loaded by other functions. */
#include "load.h"

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
