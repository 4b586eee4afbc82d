/* Which CRC kernels are chosen, for every processor that there may be: what it says of itself is
 * pretended here, and no kernel runs. */
#include "../src/compiler.h"

#include "check.h"

#if defined __aarch64__ && defined __linux__
#include <sys/auxv.h>
static unsigned long pretended;
#define getauxval(type) pretended
#include "../src/crc32/arm.c"
#undef getauxval
#elif defined __x86_64__
#include <string.h>
static const char *const features[] = {"pclmul", "sse4.1", "avx2", "avx512f", "avx512vl", "vpclmulqdq"};
enum { PCLMUL = 1, SSE4_1 = 2, AVX2 = 4, AVX512F = 8, AVX512VL = 16, VPCLMULQDQ = 32 };
static int pretended; /* of these */
__attribute__((unused)) static bool pretends(const char *feature)
{
    for (int i = 0; i < 6; i++) {
        if (strcmp(feature, features[i]) == 0) {
            return pretended >> i & 1;
        }
    }
    CHECK_EQ(strcmp(feature, "one of these"), 0);
    return false;
}
#define __builtin_cpu_supports pretends
#include "../src/crc32/crc32.h"
#undef __builtin_cpu_supports
#else
#include "../src/crc32/crc32.h"
#endif

#if defined AQD_CRC_ARM && defined __linux__
static void the_widest_kernel_is_one_whose_instructions_are_all_there(void)
{
    const unsigned long pmull = 1UL << 4, crc32 = 1UL << 7, sha3 = 1UL << 17;
    for (unsigned long others = 0; others < 2; others++) {
        for (int has = 0; has < 8; has++) {
            pretended = (has & 1 ? crc32 : 0) | (has & 2 ? pmull : 0) | (has & 4 ? sha3 : 0) | (others ? ~(pmull | crc32 | sha3) : 0);
            unsigned width = (has & 1) == 0 ? 0 : 8;
#if defined AQD_CRC_PMULL
            width = (has & 3) == 3 ? 16 : width;
#endif
#if defined AQD_CRC_EOR3
            width = has == 7 ? 32 : width;
#endif
            CHECK_EQ(widest(), width);
        }
    }
}

static void the_processor_is_asked_once(void)
{
    pretended = 1UL << 7;
    CHECK_EQ(aqd_crc32_width(), 8);
    CHECK(aqd_crc32_has_fast());
    pretended = 0;
    CHECK_EQ(aqd_crc32_width(), 8);
    CHECK(aqd_crc32_has_fast());
}
#elif defined AQD_CRC_CLMUL
/* What the compiler was told of the processor is not asked. */
static const int known = 0
#if defined __PCLMUL__
                         | PCLMUL
#endif
#if defined __SSE4_1__
                         | SSE4_1
#endif
#if defined __AVX2__
                         | AVX2
#endif
#if defined __AVX512F__
                         | AVX512F
#endif
#if defined __AVX512VL__
                         | AVX512VL
#endif
#if defined __VPCLMULQDQ__
                         | VPCLMULQDQ
#endif
    ;

static bool has_all(int of) { return (pretended & of) == of; }

static void the_widest_kernel_is_one_whose_instructions_are_all_there(void)
{
    for (pretended = 0; pretended < 64; pretended++) {
        if (!has_all(known)) {
            continue;
        }
        unsigned width = has_all(PCLMUL | SSE4_1) ? 16 : 0;
        CHECK_EQ(aqd_crc32_has_fast(), width == 16);
#if defined AQD_CRC_PAIRS
        width = has_all(AVX2 | VPCLMULQDQ) ? 32 : width;
#endif
#if defined AQD_CRC_WIDE
        width = has_all(AVX512F | AVX512VL | VPCLMULQDQ) ? 64 : width;
#endif
        CHECK_EQ(aqd_crc32_width(), width);
    }
}
#endif

int main(void)
{
#if defined AQD_CRC_ARM && defined __linux__
    RUN(the_widest_kernel_is_one_whose_instructions_are_all_there);
    RUN(the_processor_is_asked_once);
#elif defined AQD_CRC_CLMUL
    RUN(the_widest_kernel_is_one_whose_instructions_are_all_there);
#else
    puts("# this build has nothing to choose from");
#endif
    return finish_tests();
}
