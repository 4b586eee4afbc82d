/* Which CRC kernels this build has. By default what the processor turns out to have; macros leave
 * kernels out: AQD_CRC_1K, AQD_CRC_SMALL and AQD_CRC_HOOK (a table of 1 KiB, of 64 bytes, a
 * function of the program, and nothing else, for microcontrollers), AQD_CRC_PORTABLE (8 KiB of
 * tables, no special instructions), and AQD_CRC_PATH, to measure on one processor what others do:
 * on x86-64 the width of the widest registers used, in bytes: 16, 32 or 64; on AArch64 8 (the CRC32
 * instructions), 16 (PMULL, too) or 32 (PMULL and EOR3). */
#ifndef AQUEDUCT_CRC32_SELECT_H
#define AQUEDUCT_CRC32_SELECT_H

#include "../compiler.h"

#if !defined AQD_CRC_PATH
#define AQD_CRC_PATH 64
#elif defined __aarch64__ && AQD_CRC_PATH != 8 && AQD_CRC_PATH != 16 && AQD_CRC_PATH != 32
#error "AQD_CRC_PATH is 8, 16 or 32 on AArch64; AQD_CRC_PORTABLE is without special instructions."
#elif !defined __aarch64__ && AQD_CRC_PATH != 16 && AQD_CRC_PATH != 32 && AQD_CRC_PATH != 64
#error "AQD_CRC_PATH is 16, 32 or 64; AQD_CRC_PORTABLE is without vectors."
#endif

#if (defined AQD_CRC_SMALL && defined AQD_CRC_1K) || (defined AQD_CRC_HOOK && (defined AQD_CRC_SMALL || defined AQD_CRC_1K))
#error "One of AQD_CRC_SMALL, AQD_CRC_1K and AQD_CRC_HOOK."
#endif

#if !defined AQD_CRC_SMALL && !defined AQD_CRC_1K && !defined AQD_CRC_HOOK && !defined AQD_CRC_PORTABLE
/* Without an operating system only what the compiler was told about the processor counts. Pointers
 * of 64 bits, because the kernels take words of 8 bytes from load.h, which x32 and ILP32 on AArch64
 * do not have. */
#if defined __x86_64__ && UINTPTR_MAX > UINT32_MAX && (__STDC_HOSTED__ || defined __PCLMUL__)
#define AQD_CRC_CLMUL 1
#if AQD_CRC_PATH >= 32 && (__STDC_HOSTED__ || (defined __VPCLMULQDQ__ && defined __AVX2__))
#define AQD_CRC_PAIRS 1
#endif
#if AQD_CRC_PATH >= 64 && (__STDC_HOSTED__ || (defined __VPCLMULQDQ__ && defined __AVX512VL__))
#define AQD_CRC_WIDE 1
#endif
#elif defined __aarch64__ && UINTPTR_MAX > UINT32_MAX && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && ((__STDC_HOSTED__ && defined __linux__) || defined __ARM_FEATURE_CRC32)
#define AQD_CRC_ARM 1
#if AQD_CRC_PATH >= 16 && defined __ARM_NEON && ((__STDC_HOSTED__ && defined __linux__) || defined __ARM_FEATURE_AES || defined __ARM_FEATURE_CRYPTO)
#define AQD_CRC_PMULL 1
#if AQD_CRC_PATH >= 32 && ((__STDC_HOSTED__ && defined __linux__) || defined __ARM_FEATURE_SHA3)
#define AQD_CRC_EOR3 1
#endif
#endif
#endif
/* ThreadSanitizer knows atomic words only: copies by vectors would be races to it. */
#if defined __SANITIZE_THREAD__
#define AQD_CRC_WORDS 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define AQD_CRC_WORDS 1
#endif
#endif
#endif

/* Whether shared bytes are copied by these instructions, with their CRC on the way. */
#if (defined AQD_CRC_CLMUL || defined AQD_CRC_ARM) && !defined AQD_CRC_WORDS
#define AQD_CRC_COPIES 1
#endif

#endif
