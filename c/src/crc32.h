/* CRC-32/ISO-HDLC (zlib, Ethernet): the check of every header and payload, of private bytes or of a
 * copy on its way out of the ring.
 *
 * A state is what the CRC register holds between bytes: AQD_CRC32_START before the first, and the
 * CRC is the state's complement. So the state behind a constant prefix is computed once. Pure; no
 * initialisation. Macros: AQD_CRC_SMALL (64-byte table, nothing else, for microcontrollers),
 * AQD_CRC_PORTABLE (8 KiB tables, no special instructions). Next: reader.c. */
#ifndef AQUEDUCT_CRC32_H
#define AQUEDUCT_CRC32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "aqueduct/reader.h"
#include "load.h"

#define AQD_CRC32_START UINT32_C(0xFFFFFFFF)

/* Whether aqd_load_record_crc can do more than say no. */
#if defined __x86_64__ && !defined AQD_CRC_SMALL && !defined AQD_CRC_PORTABLE
#define AQD_CRC_RECORDS 1
#endif

/* The state behind len more bytes. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_update(uint32_t state, const void *bytes, size_t len);

/* The state behind 32 more bytes, given as four little-endian numbers: a record header without a
 * trip through memory. */
/*@ assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_words(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* CRC-32 of len bytes; of "123456789" it is 0xCBF43926. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
static inline uint32_t aqd_crc32(const void *bytes, size_t len) { return ~aqd_crc32_update(AQD_CRC32_START, bytes, len); }

/* Copies len bytes from the shared bytes at from (32-byte aligned) to private ones and gives the
 * CRC of the copy: what is checked is what is returned, whoever writes there meanwhile. Loads whole
 * words, as aqd_load_bytes. */
/*@ requires \valid(into + (0 .. len - 1));
    requires \valid_read(from + (0 .. (len + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word) - 1));
    assigns into[0 .. len - 1]; exits \false; */
uint32_t aqd_load_bytes_crc(unsigned char *into, const unsigned char *from, size_t len);

/* A record header in the host's integers. The first half and what is behind it up to stored_crc are
 * blocks of 16 bytes that are stored whole. */
struct aqd_header {
    uint64_t seq;
    uint64_t timestamp_ns;
    uint32_t len;
    uint8_t kind;
    uint8_t flags;
    uint16_t type;
    uint32_t payload_crc;
    uint32_t stored_crc;
    uint32_t computed_crc; /* of epoch, position and the 28 bytes before stored_crc */
    uint32_t granules;     /* that the record takes, this header included */
};

/* Loads the 32 header bytes at from (32-byte aligned), each once, and computes their CRC; granules
 * is left alone. epoch_crc: the state behind the epoch. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(h);
    assigns *h; exits \false;
    ensures h->granules == \old(h->granules); */
void aqd_load_header_crc(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position);

/* Copies the payload of the record whose header stands at from (32-byte aligned) and describes it
 * in *rec, if it is DATA with this number, has a payload of at most `most` bytes, and both CRCs are
 * right; each byte is loaded once. prefix: the state behind the epoch, with the position added.
 * False: it is not, or this processor has no faster way than aqd_load_header_crc and
 * aqd_load_bytes_crc, which say more. */
/*@ requires \valid_read(from + (0 .. 31)) && \valid(rec) && \valid(into + (0 .. most - 1));
    requires \valid_read(from + (32 .. 31 + (most + sizeof(aqd_word) - 1) / sizeof(aqd_word) * sizeof(aqd_word)));
    requires \separated(rec, into + (0 .. most - 1));
    assigns into[0 .. most - 1], *rec; exits \false;
    ensures \result ==> rec->len <= most && rec->seq == seq;
    ensures !\result ==> *rec == \old(*rec); */
#if defined AQD_CRC_RECORDS
bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec);
#else
static inline bool aqd_load_record_crc(const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    (void)from, (void)prefix, (void)seq, (void)most, (void)into, (void)rec;
    return false;
}
#endif

/* The implementations behind the functions above, for the tests. _fast must only be called if
 * aqd_crc32_has_fast(). */
/*@ assigns \nothing; exits \false; */
bool aqd_crc32_has_fast(void);
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len);
/*@ assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/*@ assigns \nothing; exits \false; */
bool aqd_crc32_has_wide(void);
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len);
/*@ assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_words_table(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#endif
