/* The only door to shared bytes: every load and store that another process can see, and every fence, is one of these functions.
 *
 * They are the seam at which the reader is proved: put contracts in their place ("any value may come back") and what is left is
 * sequential C. Values are host integers. Orderings are named with their pairs where the functions are called. Next: reader.c. */
#ifndef AQUEDUCT_LOAD_H
#define AQUEDUCT_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

#if defined __SSE2__ && defined __x86_64__
#include <emmintrin.h>
#endif

/* The ABI never needs a 64-bit access; where the machine has one, copies use it. */
#if UINTPTR_MAX > UINT32_MAX
typedef uint64_t aqd_word;
#else
typedef uint32_t aqd_word;
#endif

static inline uint32_t aqd_load_acquire(const unsigned char *word)
{
    return aqd_le32(__atomic_load_n((const uint32_t *)(const void *)word, __ATOMIC_ACQUIRE));
}

static inline uint32_t aqd_load_relaxed(const unsigned char *word)
{
    return aqd_le32(__atomic_load_n((const uint32_t *)(const void *)word, __ATOMIC_RELAXED));
}

static inline void aqd_store_release(unsigned char *word, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)word, aqd_le32(value), __ATOMIC_RELEASE);
}

static inline void aqd_store_relaxed(unsigned char *word, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)word, aqd_le32(value), __ATOMIC_RELAXED);
}

static inline void aqd_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }

static inline void aqd_fence_seq_cst(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* One aligned word of record bytes, as it lies in memory. ORDER(payload): Relaxed; the Acquire of `tail` came before. */
static inline aqd_word aqd_load_word(const unsigned char *from)
{
    return __atomic_load_n((const aqd_word *)(const void *)from, __ATOMIC_RELAXED);
}

/* The 32 header bytes at from (32-byte aligned) as four little-endian numbers. Each shared word is loaded once. */
static inline void aqd_load_header(uint64_t into[4], const unsigned char *from)
{
    for (size_t i = 0; i < 4; i++) {
#if UINTPTR_MAX > UINT32_MAX
        into[i] = aqd_le64(aqd_load_word(from + 8 * i));
#else
        uint64_t low = aqd_le32(aqd_load_word(from + 8 * i));
        into[i] = low | (uint64_t)aqd_le32(aqd_load_word(from + 8 * i + 4)) << 32;
#endif
    }
}

/* Copies len bytes from the shared bytes at from (8-byte aligned) to private ones. Loads whole words, so up to the end of the last one;
 * a granule is a whole number of them. */
static inline void aqd_load_bytes(unsigned char *into, const unsigned char *from, size_t len)
{
    size_t at = 0, rest = len % sizeof(aqd_word), whole = len - rest;
#if defined __SSE2__ && defined __x86_64__
    /* Stored by 16 bytes, because the CRC that follows loads 16: two stores of 8 would not be forwarded to it. */
    for (; whole - at >= 16; at += 16) {
        __m128i low = _mm_cvtsi64_si128((long long)aqd_load_word(from + at));
        __m128i high = _mm_cvtsi64_si128((long long)aqd_load_word(from + at + 8));
        _mm_storeu_si128((__m128i *)(void *)(into + at), _mm_unpacklo_epi64(low, high));
    }
#endif
    for (; at < whole; at += sizeof(aqd_word)) {
        aqd_word word = aqd_load_word(from + at);
        __builtin_memcpy(into + at, &word, sizeof word);
    }
    if (rest > 0) {
        aqd_word word = aqd_load_word(from + whole);
        unsigned char last[sizeof word];
        __builtin_memcpy(last, &word, sizeof word);
        for (size_t i = 0; i < rest; i++) {
            into[whole + i] = last[i];
        }
    }
}

#endif
