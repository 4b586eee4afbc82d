/* Little-endian integers in private bytes, at any alignment, on any host. Shared bytes are load.h's job. */
#ifndef AQUEDUCT_BYTES_H
#define AQUEDUCT_BYTES_H

#include <stdint.h>

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
static inline uint16_t aqd_le16(uint16_t v) { return __builtin_bswap16(v); }
static inline uint32_t aqd_le32(uint32_t v) { return __builtin_bswap32(v); }
static inline uint64_t aqd_le64(uint64_t v) { return __builtin_bswap64(v); }
#else
static inline uint16_t aqd_le16(uint16_t v) { return v; }
static inline uint32_t aqd_le32(uint32_t v) { return v; }
static inline uint64_t aqd_le64(uint64_t v) { return v; }
#endif

static inline uint16_t aqd_get16(const void *from)
{
    uint16_t v;
    __builtin_memcpy(&v, from, sizeof v);
    return aqd_le16(v);
}

static inline uint32_t aqd_get32(const void *from)
{
    uint32_t v;
    __builtin_memcpy(&v, from, sizeof v);
    return aqd_le32(v);
}

static inline uint64_t aqd_get64(const void *from)
{
    uint64_t v;
    __builtin_memcpy(&v, from, sizeof v);
    return aqd_le64(v);
}

static inline void aqd_put16(void *into, uint16_t v)
{
    v = aqd_le16(v);
    __builtin_memcpy(into, &v, sizeof v);
}

static inline void aqd_put32(void *into, uint32_t v)
{
    v = aqd_le32(v);
    __builtin_memcpy(into, &v, sizeof v);
}

static inline void aqd_put64(void *into, uint64_t v)
{
    v = aqd_le64(v);
    __builtin_memcpy(into, &v, sizeof v);
}

#endif
