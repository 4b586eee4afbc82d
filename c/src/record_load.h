/* Loading records from shared memory: each byte once, with the CRC of what was loaded. The seam
 * between load.h, which moves bytes, and record.h, which judges headers. */
#ifndef AQUEDUCT_RECORD_LOAD_H
#define AQUEDUCT_RECORD_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aqueduct/reader.h"
#include "crc32/select.h"
#include "load.h"

/* A record header in the host's integers. The vector kernels store it as two blocks of 16 bytes:
 * seq and timestamp_ns, then len to stored_crc. */
struct aqd_header {
    uint64_t seq;
    uint64_t timestamp_ns;
    uint32_t len;
    uint8_t kind;
    uint8_t flags;
    uint16_t type_tag;
    uint32_t payload_crc;
    uint32_t stored_crc;
    uint32_t computed_crc; /* of epoch, position and the 28 bytes before stored_crc */
    uint32_t granules;     /* that the record takes, this header included */
};

/* Loads the 32 header bytes at from (32-byte aligned), each once, and computes their CRC; granules
 * is left alone. epoch_crc: the state after the epoch. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(h);
    assigns *h; exits \false;
    ensures h->granules == \old(h->granules); */
AQD_INTERNAL void aqd_load_header_crc(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position);

/* Copies len bytes from the shared bytes at from (32-byte aligned) to private ones and gives the
 * CRC of the copy: what is checked is what is returned, whoever writes there meanwhile. Loads whole
 * words, as aqd_load_bytes. */
/*@ requires \valid(into + (0 .. len - 1));
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_INTERNAL uint32_t aqd_load_bytes_crc(unsigned char *into, const unsigned char *from, size_t len);

/* Copies the payload of the record whose header is at from (32-byte aligned) and describes the
 * record in *rec, if it is DATA without attributes, has this sequence number and a payload of at
 * most `most` bytes, and both CRCs are right. Each byte is loaded once. prefix: the state after the
 * epoch, with the position added.
 * Returns false if it is not such a record, or if this processor has no faster way than
 * aqd_load_header_crc and aqd_load_bytes_crc. Ask those then: they say what is wrong. into may have
 * been written, *rec has not. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
#if defined AQD_CRC_COPIES
AQD_INTERNAL bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec);
#else
static inline bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    (void)from, (void)prefix, (void)seq, (void)most, (void)into, (void)rec;
    return false;
}
#endif

#if defined AQD_CRC_COPIES
/* Both by registers of width bytes, at most aqd_crc32_width(): see there. */
/*@ requires \valid(into + (0 .. len - 1));
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_INTERNAL uint32_t aqd_load_bytes_crc_by(unsigned width, unsigned char *into, const unsigned char *from, size_t len);
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq && rec->attribute_units == 0;
    ensures !\result ==> *rec == \old(*rec); */
AQD_INTERNAL bool aqd_load_record_crc_by(unsigned width, const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into,
                                         aqd_record *rec);
#endif

#endif
