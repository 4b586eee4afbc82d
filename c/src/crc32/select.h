/* Which CRC kernels this build has. By default what the processor turns out to have; the macros
 * AQD_CRC_SMALL (64-byte table and nothing else, for microcontrollers) and AQD_CRC_PORTABLE (8 KiB
 * of tables, no special instructions) leave kernels out. */
#ifndef AQUEDUCT_CRC32_SELECT_H
#define AQUEDUCT_CRC32_SELECT_H

#include "../compiler.h"

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
#if (__STDC_HOSTED__ || (defined __VPCLMULQDQ__ && defined __AVX512VL__)) && !defined AQD_CRC_WORDS
#define AQD_CRC_WIDE 1
#endif
#elif defined __aarch64__ && (defined __linux__ || defined __ARM_FEATURE_CRC32)
#define AQD_CRC_ARM 1
#endif
#endif

#endif
