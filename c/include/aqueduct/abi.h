/* The shared bytes of Aqueduct ABI 1.2: offsets, constants and wire structs, each held to
 * core/ABI.md at compile time.
 *
 * Every integer in these structs is little-endian in memory. A big-endian host must convert; this
 * library does so internally and hands out host values only. Plain data: nothing here accesses
 * memory. */
#ifndef AQUEDUCT_ABI_H
#define AQUEDUCT_ABI_H

#include <stddef.h>
#include <stdint.h>

#if defined __cplusplus
#define AQD_ABI_ASSERT(condition) static_assert(condition, #condition)
#elif defined __STDC_VERSION__ && __STDC_VERSION__ >= 201112L
#define AQD_ABI_ASSERT(condition) _Static_assert(condition, #condition)
#else /* C99: of another name in each line, because some builds refuse a second declaration */
#define AQD_ABI_ASSERT_AT(condition, line) extern int aqd_abi_assert_##line[(condition) ? 1 : -1]
#define AQD_ABI_ASSERT_IN(condition, line) AQD_ABI_ASSERT_AT(condition, line)
#define AQD_ABI_ASSERT(condition) AQD_ABI_ASSERT_IN(condition, __LINE__)
#endif

#define AQD_ABI_MAJOR 1
#define AQD_ABI_MINOR 0    /* of the segments */
#define AQD_PACKET_MINOR 2 /* of HELLO and WELCOME: 1 brought the kinds 2 to 4, 2 the attributes of
                            * records */

#define AQD_RING_MAGIC "AQUEDUCT"
#define AQD_CURSOR_MAGIC "AQDCURSR"
#define AQD_HELLO_MAGIC "AQDHELLO"
#define AQD_WELCOME_MAGIC "AQDREPLY"
#define AQD_MAGIC_BYTES 8

#define AQD_GRANULE_BYTES 32
#define AQD_MIN_CAPACITY UINT32_C(4)
#define AQD_MAX_CAPACITY (UINT32_C(1) << 30)
#define AQD_SEGMENT_ALIGN_BYTES 64
#define AQD_DATA_OFFSET_MIN 256
#define AQD_DATA_OFFSET_MAPPED 4096
#define AQD_CURSOR_BYTES_MIN 256
#define AQD_RING_NAME_BYTES 64
#define AQD_SUBSCRIPTION_NAME_BYTES 32
#define AQD_MESSAGE_BYTES 96

/* Control words of the ring segment (§2.2), all written by the producer. */
#define AQD_RING_TAIL 128
#define AQD_RING_NEXT_SEQ 132
#define AQD_RING_OLDEST 192
#define AQD_RING_STATE 196
#define AQD_RING_SPACE_WANTED 200

/* Words of the cursor segment (§6.1), all written by its reader. */
#define AQD_CURSOR_CURSOR 64
#define AQD_CURSOR_WAITING 128
#define AQD_CURSOR_CORRUPT 192
#define AQD_CURSOR_LOST 196
#define AQD_CURSOR_MISSED_WAKES 200

enum { AQD_STATE_RUNNING = 0, AQD_STATE_CLOSED = 1 };

enum {
    AQD_KIND_DATA = 1,
    AQD_KIND_PAD = 2,
    AQD_KIND_DISCARD = 3,
    AQD_KIND_DATA_ATTRIBUTES = 0x81 /* DATA with an attribute block after the payload; `flags` is
                                     * its length in units */
};

/* Attribute blocks (§3.1). */
#define AQD_ATTRIBUTES_UNIT_BYTES 16
#define AQD_ATTRIBUTES_MAX_BYTES 4080

/* Low two bits of `waiting`; the other 30 are the low bits of the tail the reader sleeps on. */
enum { AQD_WAITING_FUTEX = 1, AQD_WAITING_SOCKET = 2 };

#define AQD_CLOCK_REALTIME UINT32_C(0)
#define AQD_CLOCK_MONOTONIC UINT32_C(1)
#define AQD_CLOCK_PRIVATE UINT32_C(0xFFFFFFFF)

/* One-byte packets on the control socket (§6.3). */
#define AQD_PACKET_WAKE 0x57  /* 'W', producer to reader: there is data */
#define AQD_PACKET_SPACE 0x53 /* 'S', reader to producer: there is space */

/* `kind` of a HELLO packet (§6.2). */
enum {
    AQD_HELLO_ATTACH = 1,        /* as gating reader, where the subscription is */
    AQD_HELLO_OBSERVE = 2,       /* the ring only: no subscription, no cursor segment, gates nothing */
    AQD_HELLO_ATTACH_OLDEST = 3, /* as 1, and the subscription goes back to the oldest intact record */
    AQD_HELLO_ATTACH_LATEST = 4  /* as 1, and the subscription moves past the last published record */
};

/* `status` of a WELCOME packet (§6.2). */
enum {
    AQD_WELCOME_ATTACHED = 0,
    AQD_WELCOME_MALFORMED = 1,
    AQD_WELCOME_OTHER_MAJOR = 2,
    AQD_WELCOME_NO_SUCH_RING = 3,
    AQD_WELCOME_NO_SUCH_SUBSCRIPTION = 4,
    AQD_WELCOME_BUSY = 5,
    AQD_WELCOME_NOT_PERMITTED = 6,
    AQD_WELCOME_SHUTTING_DOWN = 7,
    AQD_WELCOME_NO_RESOURCE = 8
};

/* Bytes 0..128 of a ring segment. */
struct aqd_abi_ring_header {
    uint8_t magic[8];
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t data_offset; /* bytes */
    uint64_t epoch;
    uint64_t created_ns;
    uint32_t capacity;    /* granules */
    uint32_t max_payload; /* bytes */
    uint32_t clock_id;
    uint32_t reserved0;
    uint8_t name[AQD_RING_NAME_BYTES];
    uint8_t reserved1[12];
    uint32_t header_crc; /* of bytes 0..124 */
};

AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, magic) == 0);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, abi_major) == 8);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, abi_minor) == 10);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, data_offset) == 12);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, epoch) == 16);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, created_ns) == 24);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, capacity) == 32);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, max_payload) == 36);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, clock_id) == 40);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, reserved0) == 44);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, name) == 48);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, reserved1) == 112);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_ring_header, header_crc) == 124);
AQD_ABI_ASSERT(sizeof(struct aqd_abi_ring_header) == 128);

/* The 32 bytes in front of every payload. */
struct aqd_abi_record_header {
    uint32_t len; /* payload bytes */
    uint8_t kind;
    uint8_t flags;
    uint16_t type_tag;
    uint64_t seq;
    uint64_t timestamp_ns;
    uint32_t payload_crc;
    uint32_t header_crc; /* of epoch, position and bytes 0..28 */
};

AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, len) == 0);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, kind) == 4);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, flags) == 5);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, type_tag) == 6);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, seq) == 8);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, timestamp_ns) == 16);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, payload_crc) == 24);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_record_header, header_crc) == 28);
AQD_ABI_ASSERT(sizeof(struct aqd_abi_record_header) == AQD_GRANULE_BYTES);

/* Bytes 0..64 of a cursor segment. */
struct aqd_abi_cursor_identity {
    uint8_t magic[8];
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t reserved0;
    uint64_t epoch;
    uint8_t name[AQD_SUBSCRIPTION_NAME_BYTES];
    uint32_t reserved1;
    uint32_t identity_crc; /* of bytes 0..60 */
};

AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, magic) == 0);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, abi_major) == 8);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, abi_minor) == 10);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, reserved0) == 12);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, epoch) == 16);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, name) == 24);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, reserved1) == 56);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_cursor_identity, identity_crc) == 60);
AQD_ABI_ASSERT(sizeof(struct aqd_abi_cursor_identity) == AQD_CURSOR_CURSOR);

/* First packet, reader to producer. */
struct aqd_abi_hello {
    uint8_t magic[8];
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t kind;
    uint8_t ring[AQD_RING_NAME_BYTES];
    uint8_t subscription[AQD_SUBSCRIPTION_NAME_BYTES];
    uint8_t reserved[32];
};

AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, magic) == 0);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, abi_major) == 8);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, abi_minor) == 10);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, kind) == 12);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, ring) == 16);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, subscription) == 80);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_hello, reserved) == 112);
AQD_ABI_ASSERT(sizeof(struct aqd_abi_hello) == 144);

/* The answer to a HELLO. With status 0 it carries the descriptor of the ring and, unless an
 * observer asked, that of the cursor segment. */
struct aqd_abi_welcome {
    uint8_t magic[8];
    uint16_t abi_major;
    uint16_t abi_minor;
    uint32_t status;
    uint64_t ring_bytes;
    uint32_t cursor_bytes;
    uint32_t reserved;
    uint8_t message[AQD_MESSAGE_BYTES];
};

AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, magic) == 0);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, abi_major) == 8);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, abi_minor) == 10);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, status) == 12);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, ring_bytes) == 16);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, cursor_bytes) == 24);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, reserved) == 28);
AQD_ABI_ASSERT(offsetof(struct aqd_abi_welcome, message) == 32);
AQD_ABI_ASSERT(sizeof(struct aqd_abi_welcome) == 128);

#endif
