/* CRC-32/ISO-HDLC (zlib, Ethernet) of private bytes: the check of every header and payload.
 *
 * A state is what the CRC register holds between bytes: AQD_CRC32_START before the first, and the CRC is the state's complement. So the
 * state behind a constant prefix is computed once. Pure; no initialisation. Macros: AQD_CRC_SMALL (64-byte table, nothing else, for
 * microcontrollers), AQD_CRC_PORTABLE (8 KiB tables, no special instructions). Next: reader.c. */
#ifndef AQUEDUCT_CRC32_H
#define AQUEDUCT_CRC32_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AQD_CRC32_START UINT32_C(0xFFFFFFFF)

/* The state behind len more bytes. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_update(uint32_t state, const void *bytes, size_t len);

/* The state behind 32 more bytes, given as four little-endian numbers: a record header without a trip through memory. */
/*@ assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_words(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* CRC-32 of len bytes; of "123456789" it is 0xCBF43926. */
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
static inline uint32_t aqd_crc32(const void *bytes, size_t len) { return ~aqd_crc32_update(AQD_CRC32_START, bytes, len); }

/* The two implementations behind the functions above, for the tests. _fast must only be called if aqd_crc32_has_fast(). */
/*@ assigns \nothing; exits \false; */
bool aqd_crc32_has_fast(void);
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_fast(uint32_t state, const void *bytes, size_t len);
/*@ assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_words_fast(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/*@ requires \valid_read((const unsigned char *)bytes + (0 .. len - 1));
    assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_table(uint32_t state, const void *bytes, size_t len);
/*@ assigns \nothing; exits \false; */
uint32_t aqd_crc32_update_words_table(uint32_t state, uint64_t a, uint64_t b, uint64_t c, uint64_t d);

#endif
