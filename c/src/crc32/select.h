/* Which CRC kernels this build has. By default what the processor turns out to have; macros leave
 * kernels out: AQD_CRC_SMALL (64-byte table and nothing else, for microcontrollers),
 * AQD_CRC_PORTABLE (8 KiB of tables, no special instructions), and AQD_CRC_PATH, the width of the
 * widest registers used, in bytes: 16, 32 or 64, to measure on one x86-64 processor what others
 * do. */
#ifndef AQUEDUCT_CRC32_SELECT_H
#define AQUEDUCT_CRC32_SELECT_H

#include "../compiler.h"

#if !defined AQD_CRC_PATH
#define AQD_CRC_PATH 64
#elif AQD_CRC_PATH != 16 && AQD_CRC_PATH != 32 && AQD_CRC_PATH != 64
#error "AQD_CRC_PATH is 16, 32 or 64; AQD_CRC_PORTABLE is without vectors."
#endif

#if !defined AQD_CRC_SMALL && !defined AQD_CRC_PORTABLE
/* Without an operating system only what the compiler was told about the processor counts. */
#if defined __x86_64__ && (__STDC_HOSTED__ || defined __PCLMUL__)
#define AQD_CRC_CLMUL 1
/* ThreadSanitizer knows atomic words only: copies by vectors would be races to it. */
#if defined __SANITIZE_THREAD__
#define AQD_CRC_WORDS 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define AQD_CRC_WORDS 1
#endif
#endif
#if AQD_CRC_PATH >= 32 && (__STDC_HOSTED__ || (defined __VPCLMULQDQ__ && defined __AVX2__))
#define AQD_CRC_PAIRS 1
#endif
#if AQD_CRC_PATH >= 64 && (__STDC_HOSTED__ || (defined __VPCLMULQDQ__ && defined __AVX512VL__))
#define AQD_CRC_WIDE 1
#endif
#elif defined __aarch64__ && (defined __linux__ || defined __ARM_FEATURE_CRC32)
#define AQD_CRC_ARM 1
#endif
#endif

/* Whether shared bytes are copied by vectors, with their CRC on the way. */
#if defined AQD_CRC_CLMUL && !defined AQD_CRC_WORDS
#define AQD_CRC_COPIES 1
#endif

#endif
