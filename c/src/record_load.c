/* Loading records: a header with its CRC, a payload with its CRC, and, where the processor can,
 * both in one go. Contracts: record_load.h. */
#include "compiler.h"

#include "record_load.h"

#include "bytes.h"
#include "crc32/crc32.h"
#include "load.h"

#if defined AQD_CRC_CLMUL && !defined AQD_CRC_WORDS

#include "crc32/copy.h"

/*@ requires \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type_tag, h->payload_crc, h->stored_crc; exits \false; */
AQD_CLMUL static inline void store_header(struct aqd_header *h, __m128i numbers, __m128i rest);

#ifndef __FRAMAC__
AQD_CLMUL static inline void store_header(struct aqd_header *h, __m128i numbers, __m128i rest)
{
    _Static_assert(offsetof(struct aqd_header, timestamp_ns) == 8 && offsetof(struct aqd_header, len) == 16 && offsetof(struct aqd_header, kind) == 20
                       && offsetof(struct aqd_header, flags) == 21 && offsetof(struct aqd_header, type_tag) == 22
                       && offsetof(struct aqd_header, payload_crc) == 24 && offsetof(struct aqd_header, stored_crc) == 28,
                   "two blocks");
    _mm_storeu_si128((__m128i *)(void *)h, numbers);
    _mm_storeu_si128((__m128i *)(void *)&h->len, rest);
}
#endif

/* What a header's CRC covers: the position, which is added to the state behind the epoch, and 28
 * bytes, each moved on by four. Two blocks, the first of them to be folded by 16 bytes. */
/*@ assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i header_first(__m128i low, uint32_t prefix)
{
    return _mm_alignr_epi8(low, _mm_slli_si128(_mm_cvtsi32_si128((int)prefix), 12), 12);
}

/*@ assigns \nothing; exits \false; */
AQD_CLMUL static inline __m128i header_second(__m128i low, __m128i high) { return _mm_alignr_epi8(high, low, 12); }

/*@ requires \valid_read(from + (0 .. 31)) && \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type_tag, h->payload_crc, h->stored_crc, h->computed_crc; exits \false; */
AQD_CLMUL static void header_fast(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
    __m128i low = aqd_clmul_load_shared(from), high = aqd_clmul_load_shared(from + 16);
    store_header(h, _mm_alignr_epi8(high, low, 8), _mm_blend_epi16(low, high, 0xF0));
    __m128i first = aqd_clmul_fold(header_first(low, position ^ epoch_crc), aqd_clmul_pair(AQD_CRC32_FOLD_16));
    h->computed_crc = ~aqd_clmul_reduce(_mm_xor_si128(first, header_second(low, high)));
}

#if defined AQD_CRC_WIDE

/* aqd_load_record_crc on a processor that has the instructions. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq;
    ensures !\result ==> *rec == \old(*rec); */
AQD_WIDE static bool load_record_wide(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    __m128i low = aqd_clmul_load_shared(from), high = aqd_clmul_load_shared(from + 16);
    uint64_t first = (uint64_t)_mm_cvtsi128_si64(low);
    size_t len = (uint32_t)first, whole = len - len % AQD_WIDE_BYTES;
    if (len < AQD_WIDE_BYTES || len > most || (uint8_t)(first >> 32) != AQD_KIND_DATA || (uint64_t)_mm_extract_epi64(low, 1) != seq) {
        return false;
    }
    const unsigned char *payload = from + AQD_GRANULE_BYTES;
    __m256i both = aqd_wide_to_one(aqd_wide_copy(into, payload, whole), header_first(low, prefix));
    if (whole < len) {
        both = _mm256_inserti128_si256(both, aqd_clmul_copy_tail(_mm256_castsi256_si128(both), into + whole, payload + whole, len - whole), 0);
    }
    both = _mm256_xor_si256(both, _mm256_inserti128_si256(_mm256_setzero_si256(), header_second(low, high), 1));
    if (~aqd_wide_reduce_both(both) != (uint64_t)_mm_extract_epi64(high, 1)) { /* the payload's CRC, and above it the header's */
        return false;
    }
    rec->seq = seq;
    rec->timestamp_ns = (uint64_t)_mm_cvtsi128_si64(high);
    rec->len = (uint32_t)first;
    rec->type_tag = (uint16_t)(first >> 48);
    rec->flags = (uint8_t)(first >> 40);
    rec->reserved = 0;
    return true;
}

#endif

#endif

void aqd_load_header_crc(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
#if defined AQD_CRC_CLMUL && !defined AQD_CRC_WORDS
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
    h->type_tag = (uint16_t)(w[0] >> 48);
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
    if (len >= AQD_WIDE_BYTES && aqd_crc32_has_wide()) {
        whole = len - len % AQD_WIDE_BYTES;
        state = aqd_wide_copy_crc(into, from, whole);
    }
#endif
    if (whole < len) {
        aqd_load_bytes(into + whole, from + whole, len - whole);
        state = aqd_crc32_update(state, into + whole, len - whole);
    }
    return ~state;
}

#if defined AQD_CRC_WIDE
bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    return aqd_crc32_has_wide() && load_record_wide(from, prefix, seq, most, into, rec);
}
#endif
