/* Loading records by the instructions of AArch64: a part of record_load.c. The CRCs of header and
 * payload are two chains that do not depend on each other, so the processor overlaps them. */
#ifndef AQUEDUCT_RECORD_LOAD_ARM_H
#define AQUEDUCT_RECORD_LOAD_ARM_H

#include "crc32/arm_blocks.h"
#include "crc32/crc32.h"
#include "load.h"
#include "record_load.h"

/* The state after the 28 bytes of a header that its CRC covers. prefix: the state after the epoch,
 * with the position added. */
/*@ requires \valid_read(w + (0 .. 3));
    assigns \nothing; exits \false; */
AQD_ARM_KERNEL uint32_t header_state(const uint64_t w[4], uint32_t prefix)
{
    uint32_t state = aqd_step_8(aqd_step_8(aqd_step_8(aqd_step_4(0, prefix), w[0]), w[1]), w[2]);
    return aqd_step_4(state, (uint32_t)w[3]);
}

/*@ requires \valid_read(from + (0 .. 31)) && \valid(h);
    assigns h->seq, h->timestamp_ns, h->len, h->kind, h->flags, h->type_tag, h->payload_crc, h->stored_crc, h->computed_crc; exits \false; */
static void header_fast(struct aqd_header *h, const unsigned char *from, uint32_t epoch_crc, uint32_t position)
{
    uint64_t w[4];
    aqd_load_header(w, from);
    set_header(h, w);
    h->computed_crc = ~header_state(w, position ^ epoch_crc);
}

/* Copies a payload and gives the state after it. */
/*@ requires \valid(into + (0 .. len - 1)) && \valid_read(from + (0 .. aqd_loaded_words(len, 1) - 1));
    assigns into[0 .. len - 1]; exits \false; */
AQD_ARM_KERNEL uint32_t payload_state(unsigned width, unsigned char *into, const unsigned char *from, size_t len)
{
#if defined AQD_CRC_EOR3
    if (width == 32) {
        return aqd_state_by_blocks(AQD_CRC32_START, into, from, len, true, true);
    }
#endif
#if defined AQD_CRC_PMULL
    if (width == 16) {
        return aqd_state_by_blocks(AQD_CRC32_START, into, from, len, true, false);
    }
#endif
    (void)width;
    return aqd_state_by_8(AQD_CRC32_START, into, from, len, true);
}

/*@ requires \valid(into + (0 .. len - 1)) && \valid_read(from + (0 .. aqd_loaded_words(len, 1) - 1));
    assigns into[0 .. len - 1]; exits \false; */
static uint32_t load_bytes_by_words(unsigned char *into, const unsigned char *from, size_t len);

uint32_t aqd_load_bytes_crc_by(unsigned width, unsigned char *into, const unsigned char *from, size_t len)
{
    return width == 0 ? load_bytes_by_words(into, from, len) : ~payload_state(width, into, from, len);
}

bool aqd_load_record_crc_by(unsigned width, const unsigned char *from, uint32_t prefix, uint64_t seq, size_t most, unsigned char *into, aqd_record *rec)
{
    if (width == 0) {
        return false;
    }
    uint64_t w[4];
    aqd_load_header(w, from);
    size_t len = (uint32_t)w[0];
    if (len > most || (uint8_t)(w[0] >> 32) != AQD_KIND_DATA || w[1] != seq) {
        return false;
    }
    uint64_t header = (uint64_t)header_state(w, prefix) << 32;
    if (AQD_UNLIKELY(~(header | payload_state(width, into, from + AQD_GRANULE_BYTES, len)) != w[3])) {
        return false;
    }
    rec->seq = seq;
    rec->timestamp_ns = w[2];
    rec->len = (uint32_t)len;
    rec->type_tag = (uint16_t)(w[0] >> 48);
    rec->flags = (uint8_t)(w[0] >> 40);
    rec->attribute_units = 0;
    return true;
}

#endif
