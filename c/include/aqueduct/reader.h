/* A gating reader over memory: no system calls, no allocation, no libc. For microcontrollers, and
 * the base of aqueduct/client.h.
 *
 * It trusts nothing it reads from the ring: whatever the bytes are, and however they change
 * meanwhile, no call reads outside the two segments or loops more than three times the ring's
 * capacity, and everything aqd_reader_next hands out was checked after it was copied. An aqd_reader
 * belongs to one thread at a time; different readers are independent.
 *
 * Naming: X_get_Y returns a pointer to what X knows, never NULL; X_is_Y answers a question; a plain
 * noun returns a number or a string. None of them blocks. */
#ifndef AQUEDUCT_READER_H
#define AQUEDUCT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Describes a record. */
typedef struct aqd_record {
    uint64_t seq;          /* counts the ring's records from 0; (epoch, seq) identifies a record
                            * forever */
    uint64_t timestamp_ns; /* by the ring's clock_id; 0 if unknown */
    uint32_t len;          /* payload bytes */
    uint16_t type_tag;     /* the record's type, chosen by its sender */
    uint8_t flags;         /* 0 in ABI 1.2; ignore bits you do not know */
    uint8_t attribute_units; /* length of the attributes after the payload, units of 16 bytes; 0:
                              * none. aqueduct/attributes.h reads them */
} aqd_record;

/* What is fixed for the life of a ring. */
typedef struct aqd_ring_info {
    uint64_t epoch;
    uint64_t created_ns;  /* since the Unix epoch; 0 if unknown */
    uint32_t capacity;    /* granules of 32 bytes */
    uint32_t max_payload; /* bytes, attributes included; a buffer of this size holds any record */
    uint32_t clock_id;    /* AQD_CLOCK_... */
    uint16_t abi_minor;
    char name[AQD_RING_NAME_BYTES + 1];
} aqd_ring_info;

/* Counts since the subscription was created, over all its readers, modulo 2^32. */
typedef struct aqd_stats {
    uint32_t corrupt;      /* damaged records and damaged stretches seen */
    uint32_t lost;         /* records never delivered, by their sequence numbers */
    uint32_t missed_wakes; /* sleeps that ended by timeout although there was data */
} aqd_stats;

/* The facts behind the latest AQD_ERR_HEADER, _PAYLOAD, _GAP, _TAIL, _OVERRUN or _GONE. Positions
 * count granules; they extend the ABI's 32-bit positions to 64 bits. */
typedef struct aqd_evidence {
    uint64_t position;     /* where it happened */
    uint64_t resumed;      /* where reading continues */
    uint64_t expected_seq; /* GAP: the sequence number that should have come */
    uint64_t found_seq;    /* GAP, PAYLOAD: the one that came. HEADER: that of the header found after
                            * the damage, if resumed != tail */
    uint64_t tail;         /* the tail as last accepted; TAIL: the shared word that was rejected */
    uint32_t stored_crc;   /* HEADER, PAYLOAD: in the ring */
    uint32_t computed_crc; /* HEADER, PAYLOAD: of the bytes that were read. Equal to stored_crc: the
                            * length was impossible */
} aqd_evidence;

/* A record of a batch, and where it is in the buffer. */
typedef struct aqd_item {
    aqd_record record;
    const void *payload; /* record.len bytes, and the attributes after them; aligned to
                          * AQD_BATCH_ALIGN_BYTES if the buffer is */
} aqd_item;

#define AQD_BATCH_ALIGN_BYTES 8

/* How far a reader lags behind the producer. */
typedef struct aqd_lag {
    uint64_t records; /* published and unread; may include a batch that is being published */
    uint64_t bytes;   /* that they occupy in the ring, headers and padding included */
    uint64_t age_ns;  /* the given time minus the timestamp of the oldest of them; 0 if there is none
                       * or it is later */
} aqd_lag;

/* A ring segment as readers and observers see it: where it is, and what never changes in it. Every
 * field is private. */
struct aqd_ring_view {
    const unsigned char *ring;
    const unsigned char *data; /* INVARIANT: capacity granules from here are inside the segment */
    uint32_t capacity;         /* INVARIANT: a power of two */
    uint32_t max_payload;
    uint32_t epoch_crc; /* CRC state after the epoch, the constant start of every header's CRC */
};

/* Allocate it anywhere; aqd_reader_init fills it in. Every field is private. Nothing needs to be
 * freed. */
typedef struct aqd_reader {
    struct aqd_ring_view view;
    unsigned char *cursor;
    uint64_t position; /* INVARIANT: tail - position <= capacity */
    uint64_t tail;     /* as last loaded and accepted, extended to 64 bits */
    uint64_t expected_seq;
    uint32_t answered; /* the last space_wanted that was answered */
    bool seq_known;
    aqd_stats stats;
    aqd_evidence evidence;
    aqd_ring_info info;
} aqd_reader;

/* Attaches to a ring segment and a cursor segment, both aligned to 64 bytes. The ring is only read
 * and may be mapped read-only. Both remain the caller's and must outlive *r; nothing else in this
 * process may write to them with plain accesses.
 * Returns AQD_OK; AQD_ERR_ARGUMENT, _MAGIC, _VERSION, _CHECKSUM, _GEOMETRY, _SIZE, _CURSOR: *r is
 * not a reader then; AQD_ERR_TAIL: *r is a reader, and aqd_reader_next returns the same until the
 * ring's control words are consistent. Never blocks. */
aqd_status aqd_reader_init(aqd_reader *r, const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes);

/* Copies the payload of the oldest unread record, and its attributes after it, into buf (cap bytes,
 * any alignment) and describes the record in *rec. What is checked is the copy. buf is meaningful
 * only after AQD_OK; *rec is unchanged unless mentioned. Does not release, see aqd_reader_release.
 * Never blocks.
 * Returns AQD_OK; AQD_EMPTY; AQD_CLOSED; AQD_ERR_SPACE: cap is short, nothing is consumed, and
 * rec->len is what payload and attributes need together (rec->attribute_units is 0); a cap of
 * info.max_payload is never short; AQD_ERR_GAP: *rec describes the record that the next call
 * delivers; AQD_ERR_PAYLOAD: *rec describes the lost record; AQD_ERR_HEADER: a stretch was skipped;
 * AQD_ERR_TAIL: the reader does not advance, except possibly past padding. When polling for
 * throughput, back off for a few microseconds after AQD_EMPTY: each poll steals the tail's cache
 * line from the producer. */
aqd_status aqd_reader_next(aqd_reader *r, void *buf, size_t cap, aqd_record *rec);

/* Lends the payload of the oldest unread record in place: *payload (rec->len bytes, aligned to 32,
 * and the attributes after them) is valid until aqd_reader_release. For readers that trust the
 * producer: the CRC is computed in place, so a producer that violates the protocol, or has evicted
 * this reader, could change the bytes after the check. Even then the rec->len bytes are inside the
 * ring, and so is what aqueduct/attributes.h finds. Otherwise like aqd_reader_next; never returns
 * AQD_ERR_SPACE. */
aqd_status aqd_reader_view(aqd_reader *r, const void **payload, aqd_record *rec);

/* Returns everything read so far to the producer. What was not released is delivered again to the
 * next reader of this subscription. Ends all views. Costs a fence and a store, so release once per
 * batch. Returns true if the producer is waiting for space and must be told (the client does). */
bool aqd_reader_release(aqd_reader *r);

/* Copies up to max records (max > 0) into buf (cap bytes), one after the other, each as
 * aqd_reader_next does, and describes them in items. *n (0..max) is always set, and the first *n
 * items are good whatever the status is: process them, then look at it.
 * Returns AQD_OK: *n > 0, and it stopped because max, cap or the published records ran out;
 * AQD_EMPTY, AQD_CLOSED, AQD_ERR_SPACE: as aqd_reader_next, *n is 0; AQD_ERR_HEADER, _PAYLOAD,
 * _GAP, _TAIL: met after the *n records. Headers are not copied, so a cap of info.max_payload
 * always holds one record. Does not release: one aqd_reader_release is one cursor
 * store for the batch. Never blocks. */
aqd_status aqd_reader_next_batch(aqd_reader *r, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n);

/* Describes the oldest unread record in *rec and leaves it unread. Its header was checked, its
 * payload was not. Returns what aqd_reader_next returns, except AQD_ERR_SPACE. Never blocks. */
aqd_status aqd_reader_peek(aqd_reader *r, aqd_record *rec);

/* Consumes the oldest unread record without copying or checking its payload, and describes it in
 * *rec. Otherwise like aqd_reader_peek. */
aqd_status aqd_reader_skip(aqd_reader *r, aqd_record *rec);

/* Moves forward to the record with sequence number seq, for programs that store (epoch, seq + 1) of
 * the last record together with their results. Skipped records count as read; damage on the way is
 * skipped and counted. Releases nothing.
 * Returns AQD_OK: seq is read next; AQD_ERR_GONE: a later record is, evidence.found_seq, also if
 * seq was read before, because a gating reader never goes back; AQD_AHEAD: seq is not published
 * yet, the reader is at the tail; AQD_ERR_EPOCH: not this ring's epoch, nothing moved;
 * AQD_ERR_TAIL: as aqd_reader_next, or it has skipped eight times the capacity, which only a broken
 * producer can cause. Never blocks. */
aqd_status aqd_reader_seek(aqd_reader *r, uint64_t epoch, uint64_t seq);

/* Moves past everything published so far. Skipped records count as read. Releases nothing. Returns
 * AQD_OK or AQD_ERR_TAIL. Never blocks. */
aqd_status aqd_reader_skip_to_latest(aqd_reader *r);

/* Measures how far this reader lags at now_ns, a time by the ring's clock_id. Changes nothing.
 * Returns AQD_OK; AQD_ERR_TAIL: *lag is 0. Reads at most as many headers as the ring has granules,
 * usually one. Never blocks. */
aqd_status aqd_reader_measure_lag(const aqd_reader *r, uint64_t now_ns, aqd_lag *lag);

/* Announces a sleep; mode is AQD_WAITING_FUTEX or AQD_WAITING_SOCKET. Call it after AQD_EMPTY, not
 * after AQD_CLOSED, which is final. tail_seen may be NULL.
 * Returns true: sleep now, by FUTEX_WAIT (not private) on the ring's tail word with value
 * *tail_seen, or by poll(), always with a timeout, then call aqd_reader_finish_sleep. False: do not
 * sleep, there is something to read. Never blocks. */
bool aqd_reader_prepare_sleep(aqd_reader *r, uint32_t mode, uint32_t *tail_seen);

/* Ends a sleep. timed_out: only the timeout ended it. Never blocks. */
void aqd_reader_finish_sleep(aqd_reader *r, bool timed_out);

/* Returns true if aqd_reader_next would return something other than AQD_EMPTY, or skip padding.
 * Costs two loads. */
bool aqd_reader_ready(const aqd_reader *r);

/* Return what the reader knows. Never NULL; valid and fixed in place as long as *r is; stats and
 * evidence change with the calls above. */
const aqd_stats *aqd_reader_get_stats(const aqd_reader *r);
const aqd_evidence *aqd_reader_get_evidence(const aqd_reader *r);
const aqd_ring_info *aqd_reader_get_info(const aqd_reader *r);

#ifdef __cplusplus
}
#endif

#endif
