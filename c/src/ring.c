/* Opening a ring segment. Contract: ring.h. */
#include "compiler.h"

#include "ring.h"

#include "bytes.h"
#include "crc32/crc32.h"
#include "load.h"

/* ABI 2.1, in its order, on the private copy. */
/*@ requires \valid_read(h + (0 .. 127));
    assigns \nothing; exits \false;
    ensures \result != AQD_ERR_TAIL;
    ensures \result == AQD_OK ==> AQD_MIN_CAPACITY <= aqd_u32(h + 32) <= AQD_MAX_CAPACITY;
    ensures \result == AQD_OK ==> aqd_u32(h + 12) >= AQD_DATA_OFFSET_MIN && aqd_u32(h + 12) % AQD_SEGMENT_ALIGN_BYTES == 0;
    ensures \result == AQD_OK ==> aqd_u32(h + 12) + aqd_u32(h + 32) * AQD_GRANULE_BYTES <= ring_bytes; */
static aqd_status check_ring(const unsigned char h[128], size_t ring_bytes)
{
    uint32_t data_offset = aqd_get32(h + 12), capacity = aqd_get32(h + 32), max_payload = aqd_get32(h + 36);
    if (!aqd_same_bytes(h, AQD_RING_MAGIC, AQD_MAGIC_BYTES)) {
        return AQD_ERR_MAGIC;
    }
    if (aqd_get16(h + 8) != AQD_ABI_MAJOR) {
        return AQD_ERR_VERSION;
    }
    if (aqd_get32(h + 124) != aqd_crc32(h, 124)) {
        return AQD_ERR_CHECKSUM;
    }
    if (aqd_get64(h + 16) == 0 || capacity < AQD_MIN_CAPACITY || capacity > AQD_MAX_CAPACITY || (capacity & (capacity - 1)) != 0
        || max_payload > (capacity / 2 - 1) * AQD_GRANULE_BYTES || data_offset < AQD_DATA_OFFSET_MIN || data_offset % 64 != 0) {
        return AQD_ERR_GEOMETRY;
    }
    return ring_bytes < data_offset + (uint64_t)capacity * AQD_GRANULE_BYTES ? AQD_ERR_SIZE : AQD_OK;
}

/*@ requires \valid(info) && \valid_read(h + (0 .. 127)) && \separated(info, h + (0 .. 127));
    assigns *info; exits \false; */
static void fill_info(aqd_ring_info *info, const unsigned char h[128])
{
    info->epoch = aqd_get64(h + 16);
    info->created_ns = aqd_get64(h + 24);
    info->capacity = aqd_get32(h + 32);
    info->max_payload = aqd_get32(h + 36);
    info->clock_id = aqd_get32(h + 40);
    info->abi_minor = aqd_get16(h + 10);
    /*@ loop invariant i <= AQD_RING_NAME_BYTES;
        loop assigns i, info->name[0 .. AQD_RING_NAME_BYTES - 1];
        loop variant AQD_RING_NAME_BYTES - i; */
    for (size_t i = 0; i < AQD_RING_NAME_BYTES; i++) {
        info->name[i] = (char)h[48 + i];
    }
    info->name[AQD_RING_NAME_BYTES] = '\0';
}

aqd_status aqd_ring_open(struct aqd_ring_view *view, aqd_ring_info *info, const unsigned char *ring, size_t ring_bytes)
{
    unsigned char h[sizeof(struct aqd_abi_ring_header)];
    if (ring_bytes < sizeof h) {
        return AQD_ERR_SIZE;
    }
    aqd_load_bytes(h, ring, AQD_MAGIC_BYTES);
    /* ORDER(create): Acquire. Who sees the magic sees the header. Pairs with the creator's release
     * fence before it stores the magic. */
    aqd_fence_acquire();
    aqd_load_bytes(h + AQD_MAGIC_BYTES, ring + AQD_MAGIC_BYTES, sizeof h - AQD_MAGIC_BYTES);
    aqd_status status = check_ring(h, ring_bytes);
    if (status != AQD_OK) {
        return status;
    }
    view->ring = ring;
    view->data = ring + aqd_get32(h + 12);
    view->capacity = aqd_get32(h + 32);
    view->max_payload = aqd_get32(h + 36);
    view->epoch_crc = aqd_crc32_update(AQD_CRC32_START, h + 16, 8);
    fill_info(info, h);
    return AQD_OK;
}
