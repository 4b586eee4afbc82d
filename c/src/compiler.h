/* What the sources need of a compiler, said here once, and what they ask of it. The first thing
 * that every source includes, because of _GNU_SOURCE: a unity build has one place for it. */
#ifndef AQUEDUCT_COMPILER_H
#define AQUEDUCT_COMPILER_H

#if defined __linux__ && !defined _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdint.h>

#if defined __cplusplus
#error "Compile Aqueduct's sources as C11 or later; a C++ program includes its headers and links the objects."
#elif !defined __STDC_VERSION__ || __STDC_VERSION__ < 201112L
#error "Compile Aqueduct's sources as C11 or later (-std=c11); its headers are C99."
#elif !defined __GNUC__ || defined __TINYC__
#error "Aqueduct's sources need GCC or Clang: they use the __atomic builtins and __attribute__."
#elif UINTPTR_MAX < UINT32_MAX
#error "Aqueduct needs pointers of 32 bits or more and 32-bit loads and stores that are single accesses."
#endif

/* A function of the library that is no part of its interface. Hidden in objects, so that it leaves
 * no shared library; the amalgamation makes it static. */
#if defined __FRAMAC__
#define AQD_INTERNAL
#elif !defined AQD_INTERNAL
#define AQD_INTERNAL __attribute__((visibility("hidden")))
#endif

/* GCC says that ThreadSanitizer does not see fences, which is known. */
#if defined __SANITIZE_THREAD__ && !defined __clang__
#pragma GCC diagnostic ignored "-Wtsan"
#endif

#define AQD_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define AQD_COLD __attribute__((cold, noinline))
#define AQD_OUT_OF_LINE __attribute__((noinline))

#endif
