/* Loading records: a header with its CRC, a payload with its CRC, and, where the processor can,
 * both in one go. Contracts: record_load.h. */
#include "compiler.h"

#include "record_load.h"

#include "bytes.h"
#include "crc32/crc32.h"
#include "load.h"

/* What the four numbers of a header say; computed_crc and granules are left alone. */
/*@ requires \valid(h) && \valid_read(w + (0 .. 3)) && \separated(h, w + (0 .. 3));
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type_tag, h->payload_crc, h->stored_crc; exits \false; */
static inline void set_header(struct aqd_header *h, const uint64_t w[4])
{
    h->len = (uint32_t)w[0];
    h->kind = (uint8_t)(w[0] >> 32);
    h->flags = (uint8_t)(w[0] >> 40);
    h->type_tag = (uint16_t)(w[0] >> 48);
    h->seq = w[1];
    h->timestamp_ns = w[2];
    h->payload_crc = (uint32_t)w[3];
    h->stored_crc = (uint32_t)(w[3] >> 32);
}

#if defined AQD_CRC_COPIES && defined AQD_CRC_ARM

#include "record_load_arm.h"

#elif defined AQD_CRC_COPIES

#include "crc32/sparse.h"
#include "crc32/wide.h"

/*@ requires \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type_tag, h->payload_crc, h->stored_crc; exits \false; */
AQD_BY_16 static inline void store_header(struct aqd_header *h, __m128i numbers, __m128i rest);

#ifndef __FRAMAC__
AQD_BY_16 static inline void store_header(struct aqd_header *h, __m128i numbers, __m128i rest)
{
    _Static_assert(offsetof(struct aqd_header, timestamp_ns) == 8 && offsetof(struct aqd_header, len) == 16 && offsetof(struct aqd_header, kind) == 20
                       && offsetof(struct aqd_header, flags) == 21 && offsetof(struct aqd_header, type_tag) == 22
                       && offsetof(struct aqd_header, payload_crc) == 24 && offsetof(struct aqd_header, stored_crc) == 28,
                   "two blocks");
    _mm_storeu_si128((__m128i *)(void *)h, numbers);
    _mm_storeu_si128((__m128i *)(void *)&h->len, rest);
}
#endif

/* The two blocks of a header, each byte loaded once. */
struct header_blocks {
    __m128i low, high;
};

/* ORDER(payload): as aqd_load_word. */
/*@ requires \valid_read(from + (0 .. 31));
    assigns \nothing; exits \false; */
AQD_BY_16 static inline struct header_blocks load_header(const unsigned char *from);

#ifndef __FRAMAC__
AQD_BY_16 static inline struct header_blocks load_header(const unsigned char *from)
{
    struct header_blocks header;
    header.low = *(const volatile __m128i *)(const volatile void *)from;
    header.high = *(const volatile __m128i *)(const volatile void *)(from + 16);
    return header;
}
#endif

/* The two blocks that a header's CRC covers: the position, which is added to the state after the
 * epoch, and 28 bytes, each moved on by four. */
/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline struct header_blocks covered(struct header_blocks header, uint32_t prefix)
{
    struct header_blocks moved;
    moved.low = _mm_alignr_epi8(header.low, _mm_slli_si128(_mm_cvtsi32_si128((int)prefix), 12), 12);
    moved.high = _mm_alignr_epi8(header.high, header.low, 12);
    return moved;
}

/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline __m128i header_sum_by_16(struct header_blocks header, uint32_t prefix)
{
    struct header_blocks moved = covered(header, prefix);
    return aqd_sum_two_by_16(moved.low, moved.high);
}

#if defined AQD_CRC_PAIRS
/*@ assigns \nothing; exits \false; */
AQD_BY_32 static inline __m128i header_sum_by_32(struct header_blocks header, uint32_t prefix)
{
    struct header_blocks moved = covered(header, prefix);
    return aqd_sum_two_by_32(moved.low, moved.high);
}
#endif

/*@ requires \valid_read(from + (0 .. 31)) && \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type_tag, h->payload_crc, h->stored_crc, h->computed_crc; exits \false; */
AQD_BY_16 static void header_fast(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
    struct header_blocks header = load_header(from);
    store_header(h, _mm_alignr_epi8(header.high, header.low, 8), _mm_blend_epi16(header.low, header.high, 0xF0));
    h->computed_crc = ~aqd_divide(header_sum_by_16(header, position ^ epoch_crc));
}

/* The bytes that a header says follow it, if it is of DATA with this number; otherwise more than
 * there can be. */
/*@ assigns \nothing; exits \false; */
AQD_BY_16 static inline size_t expected_len(struct header_blocks header, uint64_t seq)
{
    uint64_t first = (uint64_t)_mm_cvtsi128_si64(header.low);
    bool expected = (uint8_t)(first >> 32) == AQD_KIND_DATA && (uint64_t)_mm_extract_epi64(header.low, 1) == seq;
    return expected ? (uint32_t)first : SIZE_MAX;
}

/* Describes a record of len bytes if these states, of its payload and above it of its header, are
 * those whose CRCs the header has. */
/*@ requires \valid(rec);
    assigns *rec; exits \false;
    ensures \result ==> rec->len == len && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
AQD_BY_16 static inline bool describe(aqd_record *rec, struct header_blocks header, uint64_t states, uint64_t seq, uint32_t len)
{
    if (AQD_UNLIKELY(~states != (uint64_t)_mm_extract_epi64(header.high, 1))) {
        return false;
    }
    uint64_t first = (uint64_t)_mm_cvtsi128_si64(header.low);
    rec->seq = seq;
    rec->timestamp_ns = (uint64_t)_mm_cvtsi128_si64(header.high);
    rec->len = len;
    rec->type_tag = (uint16_t)(first >> 48);
    rec->flags = (uint8_t)(first >> 40);
    rec->attribute_units = 0;
    return true;
}

/* aqd_load_record_crc and aqd_load_bytes_crc, for one width of registers each. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
AQD_BY_16 static bool load_record_by_16(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    struct header_blocks header = load_header(from);
    size_t len = expected_len(header, seq);
    if (len > most || len >= AQD_SPARSE_LONG) { /* a long payload is better copied by itself */
        return false;
    }
    __m128i payload = aqd_sum_by_16(AQD_CRC32_START, into, from + AQD_GRANULE_BYTES, len, true);
    return describe(rec, header, aqd_divide_both_by_16(payload, header_sum_by_16(header, prefix)), seq, (uint32_t)len);
}

/*@ requires AQD_SPARSE_LONG <= len && \valid(into + (0 .. len - 1)) && \valid_read(from + (0 .. aqd_loaded(len, 1) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_BY_16 AQD_COLD static uint32_t load_long_by_16(unsigned char *into, const unsigned char *from, size_t len)
{
    return ~aqd_divide(aqd_sum_long(AQD_CRC32_START, into, from, len, true));
}

/*@ requires \valid(into + (0 .. len - 1)) && \valid_read(from + (0 .. aqd_loaded(len, 1) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_BY_16 static uint32_t load_bytes_by_16(unsigned char *into, const unsigned char *from, size_t len)
{
    if (AQD_UNLIKELY(len >= AQD_SPARSE_LONG)) {
        return load_long_by_16(into, from, len);
    }
    return ~aqd_divide(aqd_sum_by_16(AQD_CRC32_START, into, from, len, true));
}

#if defined AQD_CRC_PAIRS
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
AQD_BY_32 AQD_OUT_OF_LINE static bool load_any_record_by_32(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into,
                                                            aqd_record *rec)
{
    struct header_blocks header = load_header(from);
    size_t len = expected_len(header, seq);
    if (len > most) {
        return false;
    }
    __m128i payload = aqd_sum_by_32(AQD_CRC32_START, into, from + AQD_GRANULE_BYTES, len, true);
    return describe(rec, header, aqd_divide_both_by_32(payload, header_sum_by_32(header, prefix)), seq, (uint32_t)len);
}

/* The same. Few bytes by themselves: GCC saves registers for the loop over many, and spills. For
 * others, the header is loaded once more and judged anew: nothing of the first load is used. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
AQD_BY_32 static bool load_record_by_32(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    struct header_blocks header = load_header(from);
    size_t len = expected_len(header, seq);
    if (len > most) {
        return false;
    }
    if (len < 32 || len >= 128) {
        return load_any_record_by_32(from, prefix, seq, most, into, rec);
    }
    __m128i payload = aqd_sum_few_by_32(AQD_CRC32_START, into, from + AQD_GRANULE_BYTES, len, true);
    return describe(rec, header, aqd_divide_both_by_32(payload, header_sum_by_32(header, prefix)), seq, (uint32_t)len);
}

/*@ requires \valid(into + (0 .. len - 1)) && \valid_read(from + (0 .. aqd_loaded(len, 1) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_BY_32 static uint32_t load_bytes_by_32(unsigned char *into, const unsigned char *from, size_t len)
{
    return ~aqd_divide(aqd_sum_by_32(AQD_CRC32_START, into, from, len, true));
}
#endif

#if defined AQD_CRC_WIDE
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
AQD_BY_64 static bool load_record_by_64(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    struct header_blocks header = load_header(from);
    size_t len = expected_len(header, seq);
    if (len > most) {
        return false;
    }
    __m128i payload = aqd_sum_by_64(AQD_CRC32_START, into, from + AQD_GRANULE_BYTES, len, true);
    return describe(rec, header, aqd_divide_both_by_32(payload, header_sum_by_32(header, prefix)), seq, (uint32_t)len);
}

/*@ requires \valid(into + (0 .. len - 1)) && \valid_read(from + (0 .. aqd_loaded(len, 1) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_BY_64 static uint32_t load_bytes_by_64(unsigned char *into, const unsigned char *from, size_t len)
{
    return ~aqd_divide(aqd_sum_by_64(AQD_CRC32_START, into, from, len, true));
}
#endif

#endif

void aqd_load_header_crc(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
#if defined AQD_CRC_COPIES
    if (aqd_crc32_has_fast()) {
        header_fast(h, from, epoch_crc, position);
        return;
    }
#endif
    uint64_t w[4];
    aqd_load_header(w, from);
    set_header(h, w);
    /* The position and the 28 bytes make 32, here moved four bytes on. */
    h->computed_crc = ~aqd_crc32_update_words(epoch_crc, position | w[0] << 32, w[0] >> 32 | w[1] << 32, w[1] >> 32 | w[2] << 32,
                                              w[2] >> 32 | w[3] << 32);
}

/*@ requires \valid(into + (0 .. len - 1));
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    assigns into[0 .. len - 1]; exits \false; */
static uint32_t load_bytes_by_words(unsigned char *into, const unsigned char *from, size_t len)
{
    aqd_load_bytes(into, from, len);
    return aqd_crc32(into, len);
}

#if defined AQD_CRC_COPIES

#if !defined AQD_CRC_ARM
uint32_t aqd_load_bytes_crc_by(unsigned width, unsigned char *into, const unsigned char *from, size_t len)
{
#if defined AQD_CRC_WIDE
    if (width == 64) {
        return load_bytes_by_64(into, from, len);
    }
#endif
#if defined AQD_CRC_PAIRS
    if (width == 32) {
        return load_bytes_by_32(into, from, len);
    }
#endif
    return width == 16 ? load_bytes_by_16(into, from, len) : load_bytes_by_words(into, from, len);
}

bool aqd_load_record_crc_by(unsigned width, const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
#if defined AQD_CRC_WIDE
    if (width == 64) {
        return load_record_by_64(from, prefix, seq, most, into, rec);
    }
#endif
#if defined AQD_CRC_PAIRS
    if (width == 32) {
        return load_record_by_32(from, prefix, seq, most, into, rec);
    }
#endif
    return width == 16 && load_record_by_16(from, prefix, seq, most, into, rec);
}
#endif

uint32_t aqd_load_bytes_crc(unsigned char *into, const unsigned char *from, size_t len)
{
    return aqd_load_bytes_crc_by(aqd_crc32_width(), into, from, len);
}

bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    return aqd_load_record_crc_by(aqd_crc32_width(), from, prefix, seq, most, into, rec);
}

#else

uint32_t aqd_load_bytes_crc(unsigned char *into, const unsigned char *from, size_t len) { return load_bytes_by_words(into, from, len); }

#endif
