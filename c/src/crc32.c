/* CRC-32/ISO-HDLC: tables for every machine, PCLMULQDQ on x86-64, the CRC32 instructions on
 * AArch64. Contract: crc32.h. */
#include "crc32.h"

#include "bytes.h"
#include "crc32_tables.h"

#if !defined AQD_CRC_SMALL && !defined AQD_CRC_PORTABLE
/* Without an operating system only what the compiler was told about the processor counts. */
#if defined __x86_64__ && (__STDC_HOSTED__ || defined __PCLMUL__)
#define AQD_CRC_PCLMUL 1
/* ThreadSanitizer knows atomic words only. */
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

#if defined AQD_CRC_SMALL

uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len > 0; at++, len--) {
        state ^= *at;
        state = (state >> 4) ^ aqd_crc32_nibble[state & 15];
        state = (state >> 4) ^ aqd_crc32_nibble[state & 15];
    }
    return state;
}

/*@ assigns \nothing; exits \false; */
static uint32_t word_by_table(uint32_t state, uint64_t word)
{
    unsigned char bytes[8];
    aqd_put64(bytes, word);
    return aqd_crc32_update_table(state, bytes, sizeof bytes);
}

#else

/*@ assigns \nothing; exits \false; */
static inline uint32_t word_by_table(uint32_t state, uint64_t word)
{
    word ^= state;
    uint32_t low = (uint32_t)word, high = (uint32_t)(word >> 32);
    return aqd_crc32_table[7][low & 255] ^ aqd_crc32_table[6][low >> 8 & 255] ^ aqd_crc32_table[5][low >> 16 & 255]
           ^ aqd_crc32_table[4][low >> 24] ^ aqd_crc32_table[3][high & 255] ^ aqd_crc32_table[2][high >> 8 & 255]
           ^ aqd_crc32_table[1][high >> 16 & 255] ^ aqd_crc32_table[0][high >> 24];
}

uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len >= 8; at += 8, len -= 8) {
        state = word_by_table(state, aqd_get64(at));
    }
    /*@ loop invariant \valid_read(at + (0 .. len - 1));
        loop assigns at, len, state;
        loop variant len; */
    for (; len > 0; at++, len--) {
        state = (state >> 8) ^ aqd_crc32_table[0][(state ^ *at) & 255];
    }
    return state;
}

#endif

uint32_t aqd_crc32_update_words_table(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    state = word_by_table(state, a);
    state = word_by_table(state, b);
    state = word_by_table(state, c);
    return word_by_table(state, d);
}

#if defined AQD_CRC_PCLMUL

#include <immintrin.h>

/* The message is a polynomial, bit-reflected, so the first byte is the lowest. A block of 16 bytes
 * that stands N bytes before another is congruent mod P to two 32-by-64-bit products that can be
 * added to the other: "folding". Source: Gopal et al., "Fast CRC Computation for Generic
 * Polynomials Using PCLMULQDQ Instruction", Intel 2009. */
#define FAST __attribute__((target("pclmul,ssse3,sse4.1")))

/*@ assigns \nothing; exits \false; */
FAST static inline __m128i pair(uint64_t low, uint64_t high) { return _mm_set_epi64x((long long)high, (long long)low); }

/* The only access to memory: the proof sees the contract. */
/*@ requires \valid_read(from + (0 .. 15));
    assigns \nothing; exits \false; */
FAST static inline __m128i load(const unsigned char *from);

#ifndef __FRAMAC__
FAST static inline __m128i load(const unsigned char *from) { return _mm_loadu_si128((const __m128i *)(const void *)from); }
#endif

/*@ assigns \nothing; exits \false; */
FAST static inline __m128i fold(__m128i block, __m128i by)
{
    return _mm_xor_si128(_mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11));
}

/* The remainder of 16 bytes with 32 zero bits behind them. Barrett's reduction by a quotient of 64
 * bits, all of which the remainder cancels: one multiplication less than by way of 64 bits. */
/*@ assigns \nothing; exits \false; */
FAST static inline uint32_t reduce(__m128i x)
{
    const __m128i fold16 = pair(AQD_CRC32_FOLD_16), barrett = pair(AQD_CRC32_BARRETT);
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, fold16, 0x10)); /* 96 bits */
    x = _mm_xor_si128(x, _mm_clmulepi64_si128(_mm_clmulepi64_si128(x, barrett, 0x10), barrett, 0x00));
    return (uint32_t)_mm_extract_epi32(x, 2);
}

/* x, then the last n (1..15) bytes that end at end; the 16 bytes before end are readable. */
/*@ requires 1 <= n <= 15 && \valid_read(end - 16 + (0 .. 15));
    assigns \nothing; exits \false; */
FAST static inline __m128i fold_rest(__m128i x, const unsigned char *end, size_t n)
{
    static const unsigned char shifts[48] = {
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, /* 128: a zero byte */
        0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,  14,  15,  /* n: byte n */
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
    };
    __m128i up = load(shifts + n), down = load(shifts + 16 + n);
    __m128i first = _mm_shuffle_epi8(x, up);                                   /* zeros, then the first n bytes of x */
    __m128i second = _mm_blendv_epi8(_mm_shuffle_epi8(x, down), load(end - 16), down); /* the others, then the n new bytes */
    return _mm_xor_si128(fold(first, pair(AQD_CRC32_FOLD_16)), second);
}

bool aqd_crc32_has_fast(void)
{
#if defined __PCLMUL__ && defined __SSE4_1__
    return true;
#else
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

FAST uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    if (len < 16) {
        return aqd_crc32_update_table(state, at, len);
    }
    const __m128i fold16 = pair(AQD_CRC32_FOLD_16);
    __m128i x = _mm_xor_si128(load(at), _mm_cvtsi32_si128((int)state));
    if (len >= 64) {
        __m128i x1 = load(at + 16), x2 = load(at + 32), x3 = load(at + 48);
        /*@ loop invariant \valid_read(at - 16 + (0 .. len + 15));
            loop assigns at, len, x, x1, x2, x3;
            loop variant len; */
        for (at += 64, len -= 64; len >= 64; at += 64, len -= 64) {
            const __m128i fold64 = pair(AQD_CRC32_FOLD_64);
            x = _mm_xor_si128(fold(x, fold64), load(at));
            x1 = _mm_xor_si128(fold(x1, fold64), load(at + 16));
            x2 = _mm_xor_si128(fold(x2, fold64), load(at + 32));
            x3 = _mm_xor_si128(fold(x3, fold64), load(at + 48));
        }
        x = _mm_xor_si128(fold(x, pair(AQD_CRC32_FOLD_48)), fold(x1, pair(AQD_CRC32_FOLD_32)));
        x = _mm_xor_si128(x, _mm_xor_si128(fold(x2, fold16), x3));
    } else {
        at += 16;
        len -= 16;
    }
    /*@ loop invariant \valid_read(at - 16 + (0 .. len + 15));
        loop assigns at, len, x;
        loop variant len; */
    for (; len >= 16; at += 16, len -= 16) {
        x = _mm_xor_si128(fold(x, fold16), load(at));
    }
    if (len > 0) {
        x = fold_rest(x, at + len, len);
    }
    return reduce(x);
}

FAST uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return reduce(_mm_xor_si128(fold(pair(a ^ state, b), pair(AQD_CRC32_FOLD_16)), pair(c, d)));
}

#if !defined AQD_CRC_WORDS

/* ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (0 .. 15));
    assigns \nothing; exits \false; */
FAST static inline __m128i load_shared(const unsigned char *from);

/*@ requires \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type, h->payload_crc, h->stored_crc; exits \false; */
FAST static inline void store_header(struct aqd_header *h, __m128i numbers, __m128i rest);

#ifndef __FRAMAC__
FAST static inline __m128i load_shared(const unsigned char *from) { return *(const volatile __m128i *)(const volatile void *)from; }

FAST static inline void store_header(struct aqd_header *h, __m128i numbers, __m128i rest)
{
    _Static_assert(offsetof(struct aqd_header, timestamp_ns) == 8 && offsetof(struct aqd_header, len) == 16 && offsetof(struct aqd_header, kind) == 20
                       && offsetof(struct aqd_header, flags) == 21 && offsetof(struct aqd_header, type) == 22
                       && offsetof(struct aqd_header, payload_crc) == 24 && offsetof(struct aqd_header, stored_crc) == 28,
                   "two blocks");
    _mm_storeu_si128((__m128i *)(void *)h, numbers);
    _mm_storeu_si128((__m128i *)(void *)&h->len, rest);
}
#endif

/*@ requires \valid(into + (0 .. 15));
    assigns into[0 .. 15]; exits \false; */
FAST static inline void store(unsigned char *into, __m128i block);

#ifndef __FRAMAC__
FAST static inline void store(unsigned char *into, __m128i block) { _mm_storeu_si128((__m128i *)(void *)into, block); }
#endif

/* What a header's CRC covers: the position, which is added to the state behind the epoch, and 28
 * bytes, each moved on by four. Two blocks, the first of them to be folded by 16 bytes. */
/*@ assigns \nothing; exits \false; */
FAST static inline __m128i header_first(__m128i low, uint32_t prefix)
{
    return _mm_alignr_epi8(low, _mm_slli_si128(_mm_cvtsi32_si128((int)prefix), 12), 12);
}

/*@ assigns \nothing; exits \false; */
FAST static inline __m128i header_second(__m128i low, __m128i high) { return _mm_alignr_epi8(high, low, 12); }

/*@ requires \valid_read(from + (0 .. 31)) && \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type, h->payload_crc, h->stored_crc, h->computed_crc; exits \false; */
FAST static void header_fast(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
    __m128i low = load_shared(from), high = load_shared(from + 16);
    store_header(h, _mm_alignr_epi8(high, low, 8), _mm_blend_epi16(low, high, 0xF0));
    __m128i first = fold(header_first(low, position ^ epoch_crc), pair(AQD_CRC32_FOLD_16));
    h->computed_crc = ~reduce(_mm_xor_si128(first, header_second(low, high)));
}

#endif

#if defined AQD_CRC_WIDE

/* Four blocks at once, loaded once from where they lie and stored on the way. */
#define WIDE __attribute__((target("pclmul,sse4.1,avx512f,avx512vl,vpclmulqdq")))
#define WIDE_BYTES ((size_t)64)

bool aqd_crc32_has_wide(void)
{
#if defined __VPCLMULQDQ__ && defined __AVX512VL__
    return true;
#else
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq");
#endif
}

/* ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (0 .. 63));
    assigns \nothing; exits \false; */
WIDE static inline __m512i load_wide(const unsigned char *from);

/*@ requires \valid(into + (0 .. 63));
    assigns into[0 .. 63]; exits \false; */
WIDE static inline void store_wide(unsigned char *into, __m512i blocks);

#ifndef __FRAMAC__
WIDE static inline __m512i load_wide(const unsigned char *from) { return *(const volatile __m512i_u *)(const volatile void *)from; }

WIDE static inline void store_wide(unsigned char *into, __m512i blocks) { _mm512_storeu_si512(into, blocks); }
#endif

/* Four pairs, the one for the first block first. */
/*@ assigns \nothing; exits \false; */
WIDE static inline __m512i four(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    return _mm512_set_epi64((long long)h, (long long)g, (long long)f, (long long)e, (long long)d, (long long)c, (long long)b, (long long)a);
}

/*@ assigns \nothing; exits \false; */
WIDE static inline __m512i all(uint64_t low, uint64_t high) { return four(low, high, low, high, low, high, low, high); }

/*@ assigns \nothing; exits \false; */
WIDE static inline __m512i fold_onto(__m512i blocks, __m512i by, __m512i onto)
{
    return _mm512_xor_si512(_mm512_xor_si512(_mm512_clmulepi64_epi128(blocks, by, 0x00), _mm512_clmulepi64_epi128(blocks, by, 0x11)), onto);
}

/* The first three blocks folded onto the last; and above, another block folded by 16 bytes in the
 * same multiplications: one costs as much as four. */
/*@ assigns \nothing; exits \false; */
WIDE static inline __m256i to_one(__m512i blocks, __m128i beside)
{
    const __m512i by = four(AQD_CRC32_FOLD_48, AQD_CRC32_FOLD_32, AQD_CRC32_FOLD_16, AQD_CRC32_FOLD_16);
    __m128i last = _mm512_extracti32x4_epi32(blocks, 3);
    __m512i x = fold_onto(_mm512_inserti32x4(blocks, beside, 3), by, _mm512_zextsi128_si512(last));
    __m256i low = _mm512_castsi512_si256(x), high = _mm512_extracti64x4_epi64(x, 1);
    return _mm256_xor_si256(high, _mm256_zextsi128_si256(_mm_xor_si128(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1))));
}

/* 64 bytes that are passed on. */
/*@ requires \valid_read(from + (0 .. 63));
    requires \valid(into + (0 .. 63));
    assigns into[0 .. 63]; exits \false; */
WIDE static inline __m512i pass(unsigned char *into, const unsigned char *from)
{
    __m512i blocks = load_wide(from);
    store_wide(into, blocks);
    return blocks;
}

/* Blocks congruent to len bytes, at least 64 and a multiple of it, which are copied to into. */
/*@ requires len >= 64 && len % 64 == 0;
    requires \valid_read(from + (0 .. len - 1)) && \valid(into + (0 .. len - 1));
    assigns into[0 .. len - 1]; exits \false; */
WIDE static inline __m512i copy_wide(unsigned char *into, const unsigned char *from, size_t len)
{
    __m512i z = _mm512_xor_si512(pass(into, from), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)AQD_CRC32_START)));
    size_t at = WIDE_BYTES;
    if (len >= 4 * WIDE_BYTES) {
        __m512i z1 = pass(into + 64, from + 64), z2 = pass(into + 128, from + 128), z3 = pass(into + 192, from + 192);
        /*@ loop invariant 256 <= at <= len && at % 64 == 0;
            loop assigns at, z, z1, z2, z3, into[0 .. len - 1];
            loop variant len - at; */
        for (at = 4 * WIDE_BYTES; len - at >= 4 * WIDE_BYTES; at += 4 * WIDE_BYTES) {
            const __m512i by = all(AQD_CRC32_FOLD_256);
            z = fold_onto(z, by, pass(into + at, from + at));
            z1 = fold_onto(z1, by, pass(into + at + 64, from + at + 64));
            z2 = fold_onto(z2, by, pass(into + at + 128, from + at + 128));
            z3 = fold_onto(z3, by, pass(into + at + 192, from + at + 192));
        }
        z = fold_onto(z, all(AQD_CRC32_FOLD_192), z3);
        z = fold_onto(z1, all(AQD_CRC32_FOLD_128), z);
        z = fold_onto(z2, all(AQD_CRC32_FOLD_64), z);
    }
    /*@ loop invariant 64 <= at <= len && at % 64 == 0;
        loop assigns at, z, into[0 .. len - 1];
        loop variant len - at; */
    for (; at < len; at += WIDE_BYTES) {
        z = fold_onto(z, all(AQD_CRC32_FOLD_64), pass(into + at, from + at));
    }
    return z;
}

/*@ requires len >= 64 && len % 64 == 0;
    requires \valid_read(from + (0 .. len - 1)) && \valid(into + (0 .. len - 1));
    assigns into[0 .. len - 1]; exits \false; */
WIDE static uint32_t copy_wide_crc(unsigned char *into, const unsigned char *from, size_t len)
{
    return reduce(_mm256_castsi256_si128(to_one(copy_wide(into, from, len), _mm_setzero_si128())));
}

/* x, then the last len bytes, less than 64, of a longer copy. */
/*@ requires len < 64;
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    requires \valid(into - 16 + (0 .. len + 15));
    assigns into[0 .. len - 1]; exits \false; */
FAST static __m128i copy_rest(__m128i x, unsigned char *into, const unsigned char *from, size_t len)
{
    size_t at = 0;
    /*@ loop invariant at <= len && at % 16 == 0;
        loop assigns at, x, into[0 .. len - 1];
        loop variant len - at; */
    for (; len - at >= 16; at += 16) {
        __m128i block = load_shared(from + at);
        store(into + at, block);
        x = _mm_xor_si128(fold(x, pair(AQD_CRC32_FOLD_16)), block);
    }
    if (at < len) {
        aqd_load_bytes(into + at, from + at, len - at);
        x = fold_rest(x, into + len, len - at);
    }
    return x;
}

/* reduce() of both: the first in the lower half. */
/*@ assigns \nothing; exits \false; */
WIDE static inline uint64_t reduce_both(__m256i x)
{
    const __m256i fold16 = _mm256_broadcastsi128_si256(pair(AQD_CRC32_FOLD_16)), barrett = _mm256_broadcastsi128_si256(pair(AQD_CRC32_BARRETT));
    x = _mm256_xor_si256(_mm256_bsrli_epi128(x, 8), _mm256_clmulepi64_epi128(x, fold16, 0x10));
    x = _mm256_xor_si256(x, _mm256_clmulepi64_epi128(_mm256_clmulepi64_epi128(x, barrett, 0x10), barrett, 0x00));
    return (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
}

/* aqd_load_record_crc on a processor that has the instructions. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq;
    ensures !\result ==> *rec == \old(*rec); */
WIDE static bool load_record_wide(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    __m128i low = load_shared(from), high = load_shared(from + 16);
    uint64_t first = (uint64_t)_mm_cvtsi128_si64(low);
    size_t len = (uint32_t)first, whole = len - len % WIDE_BYTES;
    if (len < WIDE_BYTES || len > most || (uint8_t)(first >> 32) != AQD_KIND_DATA || (uint64_t)_mm_extract_epi64(low, 1) != seq) {
        return false;
    }
    const unsigned char *payload = from + AQD_GRANULE_BYTES;
    __m256i both = to_one(copy_wide(into, payload, whole), header_first(low, prefix));
    if (whole < len) {
        both = _mm256_inserti128_si256(both, copy_rest(_mm256_castsi256_si128(both), into + whole, payload + whole, len - whole), 0);
    }
    both = _mm256_xor_si256(both, _mm256_inserti128_si256(_mm256_setzero_si256(), header_second(low, high), 1));
    if (~reduce_both(both) != (uint64_t)_mm_extract_epi64(high, 1)) { /* the payload's CRC, and above it the header's */
        return false;
    }
    rec->seq = seq;
    rec->timestamp_ns = (uint64_t)_mm_cvtsi128_si64(high);
    rec->len = (uint32_t)first;
    rec->type = (uint16_t)(first >> 48);
    rec->flags = (uint8_t)(first >> 40);
    rec->reserved = 0;
    return true;
}

#endif

#elif defined AQD_CRC_ARM

#if !defined __ARM_FEATURE_CRC32
#include <sys/auxv.h>
#define AQD_HWCAP_CRC32 (1UL << 7) /* HWCAP_CRC32 of <asm/hwcap.h> */
#endif

/* By assembler, for the intrinsics exist only if the whole file is compiled for a processor that
 * has the instructions. */
static inline uint32_t crc_word(uint32_t state, uint64_t word)
{
    __asm__(".arch_extension crc\n\tcrc32x %w0, %w0, %x1" : "+r"(state) : "r"(word));
    return state;
}

static inline uint32_t crc_byte(uint32_t state, uint32_t byte)
{
    __asm__(".arch_extension crc\n\tcrc32b %w0, %w0, %w1" : "+r"(state) : "r"(byte));
    return state;
}

bool aqd_crc32_has_fast(void)
{
#if defined __ARM_FEATURE_CRC32
    return true;
#else
    /* 1 unknown, 2 no, 3 yes. Any thread finds the same, so it does not matter who stores it. */
    static unsigned char known = 1;
    unsigned char answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer == 1) {
        answer = getauxval(AT_HWCAP) & AQD_HWCAP_CRC32 ? 3 : 2;
        __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
    }
    return answer == 3;
#endif
}

uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len)
{
    const unsigned char *at = (const unsigned char *)bytes;
    for (; len >= 8; at += 8, len -= 8) {
        state = crc_word(state, aqd_get64(at));
    }
    for (; len > 0; at++, len--) {
        state = crc_byte(state, *at);
    }
    return state;
}

uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return crc_word(crc_word(crc_word(crc_word(state, a), b), c), d);
}

#else

bool aqd_crc32_has_fast(void) { return false; }

uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len) { return aqd_crc32_update_table(state, bytes, len); }

uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return aqd_crc32_update_words_table(state, a, b, c, d);
}

#endif

#if !defined AQD_CRC_WIDE
bool aqd_crc32_has_wide(void) { return false; }
#endif

void aqd_load_header_crc(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
#if defined AQD_CRC_PCLMUL && !defined AQD_CRC_WORDS
    if (aqd_crc32_has_fast()) {
        header_fast(h, from, epoch_crc, position);
        return;
    }
#endif
    uint64_t w[4];
    aqd_load_header(w, from);
    h->len = (uint32_t)w[0];
    h->kind = (uint8_t)(w[0] >> 32);
    h->flags = (uint8_t)(w[0] >> 40);
    h->type = (uint16_t)(w[0] >> 48);
    h->seq = w[1];
    h->timestamp_ns = w[2];
    h->payload_crc = (uint32_t)w[3];
    h->stored_crc = (uint32_t)(w[3] >> 32);
    /* The position and the 28 bytes make 32, here moved four bytes on. */
    h->computed_crc = ~aqd_crc32_update_words(epoch_crc, position | w[0] << 32, w[0] >> 32 | w[1] << 32, w[1] >> 32 | w[2] << 32,
                                              w[2] >> 32 | w[3] << 32);
}

uint32_t aqd_load_bytes_crc(unsigned char *into, const unsigned char *from, size_t len)
{
    uint32_t state = AQD_CRC32_START;
    size_t whole = 0;
#if defined AQD_CRC_WIDE
    if (len >= WIDE_BYTES && aqd_crc32_has_wide()) {
        whole = len - len % WIDE_BYTES;
        state = copy_wide_crc(into, from, whole);
    }
#endif
    if (whole < len) {
        aqd_load_bytes(into + whole, from + whole, len - whole);
        state = aqd_crc32_update(state, into + whole, len - whole);
    }
    return ~state;
}

#if defined AQD_CRC_RECORDS
bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
#if defined AQD_CRC_WIDE
    return aqd_crc32_has_wide() && load_record_wide(from, prefix, seq, most, into, rec);
#else
    (void)from, (void)prefix, (void)seq, (void)most, (void)into, (void)rec;
    return false;
#endif
}
#endif

uint32_t aqd_crc32_update(uint32_t state, const void *bytes, size_t len)
{
    return aqd_crc32_has_fast() ? aqd_crc32_update_fast(state, bytes, len) : aqd_crc32_update_table(state, bytes, len);
}

uint32_t aqd_crc32_update_words(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    return aqd_crc32_has_fast() ? aqd_crc32_update_words_fast(state, a, b, c, d) : aqd_crc32_update_words_table(state, a, b, c, d);
}
