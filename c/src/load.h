/* The only door to shared bytes: every load and store that another process can see, and every
 * fence, is one of these functions.
 *
 * They are the seam at which the reader is proved: put contracts in their place ("any value may
 * come back") and what is left is sequential C. Values are host integers. Orderings are named with
 * their pairs where the functions are called. */
#ifndef AQUEDUCT_LOAD_H
#define AQUEDUCT_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "bytes.h"

#if defined __SSE2__ && defined __x86_64__ && UINTPTR_MAX > UINT32_MAX
#define AQD_LOAD_PAIRS 1 /* two aqd_words are 16 bytes: not so on x32 */
#ifndef __FRAMAC__
#include <emmintrin.h>
#endif
#endif

/* The ABI never needs a 64-bit access; where the machine has one, copies use it. */
#if UINTPTR_MAX > UINT32_MAX
typedef uint64_t aqd_word;
#define aqd_put_word aqd_put64
#define aqd_le_word aqd_le64
#else
typedef uint32_t aqd_word;
#define aqd_put_word aqd_put32
#define aqd_le_word aqd_le32
#endif

/* The proof sees these contracts and no body: whatever another process writes meanwhile, each load
 * may return any value. */

/*@ requires \valid_read(word + (0 .. 3));
    assigns \nothing; exits \false; */
static inline uint32_t aqd_load_acquire(const unsigned char *word);

/*@ requires \valid_read(word + (0 .. 3));
    assigns \nothing; exits \false; */
static inline uint32_t aqd_load_relaxed(const unsigned char *word);

/*@ requires \valid(word + (0 .. 3));
    assigns word[0 .. 3]; exits \false; */
static inline void aqd_store_release(unsigned char *word, uint32_t value);

/*@ requires \valid(word + (0 .. 3));
    assigns word[0 .. 3]; exits \false; */
static inline void aqd_store_relaxed(unsigned char *word, uint32_t value);

/*@ assigns \nothing; exits \false; */
static inline void aqd_fence_acquire(void);

/*@ assigns \nothing; exits \false; */
static inline void aqd_fence_seq_cst(void);

/* One byte that may be shared, as those of a payload viewed in place. ORDER(payload): as
 * aqd_load_word. Loaded once: what was checked is what is used. */
/*@ requires \valid_read(from);
    assigns \nothing; exits \false; */
static inline unsigned char aqd_load_byte(const unsigned char *from);

/* One aligned word of record bytes, as it lies in memory. ORDER(payload): Relaxed; the Acquire of
 * `tail` came before. */
/*@ requires \valid_read(from + (0 .. sizeof(aqd_word) - 1));
    assigns \nothing; exits \false; */
static inline aqd_word aqd_load_word(const unsigned char *from);

/* Prefetches the cache lines of a granule and of the byte after it. A hint: nothing is accessed. */
/*@ assigns \nothing; exits \false; */
static inline void aqd_prefetch(const unsigned char *at);

#if defined AQD_LOAD_PAIRS
/* Stores two words that were loaded. By 16 bytes, because the CRC that follows loads 16: two stores
 * of 8 would not be forwarded to it. */
/*@ requires \valid(into + (0 .. 15));
    assigns into[0 .. 15]; exits \false; */
static inline void aqd_put_pair(unsigned char *into, aqd_word first, aqd_word second);
#endif

#ifndef __FRAMAC__
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

static inline aqd_word aqd_load_word(const unsigned char *from)
{
    return __atomic_load_n((const aqd_word *)(const void *)from, __ATOMIC_RELAXED);
}

static inline unsigned char aqd_load_byte(const unsigned char *from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }

static inline void aqd_prefetch(const unsigned char *at)
{
    __builtin_prefetch(at);
    __builtin_prefetch(at + 32);
}

#if defined AQD_LOAD_PAIRS
static inline void aqd_put_pair(unsigned char *into, aqd_word first, aqd_word second)
{
    _Static_assert(sizeof(aqd_word) == 8, "two words are stored by 16 bytes");
    __m128i low = _mm_cvtsi64_si128((long long)first), high = _mm_cvtsi64_si128((long long)second);
    _mm_storeu_si128((__m128i *)(void *)into, _mm_unpacklo_epi64(low, high));
}
#endif
#endif

/* The 32 header bytes at from (32-byte aligned) as four little-endian numbers. Each shared word is
 * loaded once. */
/*@ requires \valid_read(from + (0 .. 31));
    requires \valid(into + (0 .. 3));
    assigns into[0 .. 3]; exits \false; */
static inline void aqd_load_header(uint64_t into[4], const unsigned char *from)
{
    /*@ loop invariant i <= 4;
        loop assigns i, into[0 .. 3];
        loop variant 4 - i; */
    for (size_t i = 0; i < 4; i++) {
#if UINTPTR_MAX > UINT32_MAX
        into[i] = aqd_le64(aqd_load_word(from + 8 * i));
#else
        uint64_t low = aqd_le32(aqd_load_word(from + 8 * i));
        into[i] = low | (uint64_t)aqd_le32(aqd_load_word(from + 8 * i + 4)) << 32;
#endif
    }
}

/* Copies len bytes from the shared bytes at from (8-byte aligned) to private ones. Loads whole
 * words, so up to the end of the last one; a granule is a whole number of them. */
/*@ requires \valid(into + (0 .. len - 1));
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    assigns into[0 .. len - 1]; exits \false; */
static inline void aqd_load_bytes(unsigned char *into, const unsigned char *from, size_t len)
{
    size_t at = 0, rest = len % sizeof(aqd_word), whole = len - rest;
#if defined AQD_LOAD_PAIRS
    /*@ loop invariant at <= whole;
        loop assigns at, into[0 .. len - 1];
        loop variant whole - at; */
    for (; whole - at >= 16; at += 16) {
        aqd_put_pair(into + at, aqd_load_word(from + at), aqd_load_word(from + at + 8));
    }
#endif
    /*@ loop invariant at <= whole;
        loop assigns at, into[0 .. len - 1];
        loop variant whole - at; */
    for (; whole - at >= sizeof(aqd_word); at += sizeof(aqd_word)) {
        aqd_put_word(into + at, aqd_le_word(aqd_load_word(from + at)));
    }
    if (rest > 0) {
        aqd_word word = aqd_le_word(aqd_load_word(from + whole));
        /*@ loop invariant i <= rest;
            loop assigns i, into[whole .. len - 1];
            loop variant rest - i; */
        for (size_t i = 0; i < rest; i++) {
            into[whole + i] = (unsigned char)(word >> 8 * i);
        }
    }
}

#endif
