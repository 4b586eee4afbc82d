/* A gating reader over memory: no system calls, no allocation, no libc. For microcontrollers, and
 * under aqueduct/client.h.
 *
 * It believes nothing that it reads from the ring: whatever the bytes are and however they change
 * meanwhile, no call reads outside the two segments or loops for more than three times the ring's
 * capacity, and what it hands out by aqd_reader_next was checked after it was copied. One
 * aqd_reader belongs to one thread at a time; different readers are independent. */
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

/* What came with a payload. */
typedef struct aqd_record {
    uint64_t seq;          /* counts the ring's records from 0; (epoch, seq) identifies a record for ever */
    uint64_t timestamp_ns; /* by the ring's clock_id; 0 if unknown */
    uint32_t len;          /* payload bytes */
    uint16_t type;         /* the user's tag */
    uint8_t flags;         /* 0 in ABI 1.0; ignore bits that you do not know */
    uint8_t reserved;
} aqd_record;

/* What is fixed for the life of a ring. */
typedef struct aqd_ring_info {
    uint64_t epoch;
    uint64_t created_ns;  /* since the Unix epoch; 0 if unknown */
    uint32_t capacity;    /* granules of 32 bytes */
    uint32_t max_payload; /* bytes; a buffer of this size holds every record */
    uint32_t clock_id;    /* AQD_CLOCK_... */
    uint16_t abi_minor;
    char name[AQD_RING_NAME_BYTES + 1];
} aqd_ring_info;

/* Since the subscription was made, over all its readers; wrapping at 2^32. */
typedef struct aqd_stats {
    uint32_t corrupt;      /* damaged records and damaged stretches seen */
    uint32_t lost;         /* records that were never delivered, by seq */
    uint32_t missed_wakes; /* sleeps that ended by timeout although there was data */
} aqd_stats;

/* The facts behind the latest AQD_ERR_HEADER, _PAYLOAD, _GAP or _TAIL. Positions count granules,
 * and on from the u32 on the page. */
typedef struct aqd_evidence {
    uint64_t position;     /* where it happened */
    uint64_t resumed;      /* where reading goes on */
    uint64_t expected_seq; /* GAP: the number that should have come */
    uint64_t found_seq;    /* GAP, PAYLOAD: the number that came. HEADER: of the header found behind the damage, if resumed != tail */
    uint64_t tail;         /* the tail as last accepted; AQD_ERR_TAIL: the shared word that was not accepted */
    uint32_t stored_crc;   /* HEADER, PAYLOAD: in the ring */
    uint32_t computed_crc; /* HEADER, PAYLOAD: of the bytes that were read. Equal to stored_crc: the length was impossible */
} aqd_evidence;

/* A record of a batch with its payload. */
typedef struct aqd_item {
    aqd_record record;
    const void *payload; /* record.len bytes, aligned to AQD_BATCH_ALIGN_BYTES if the batch's buffer is */
} aqd_item;

#define AQD_BATCH_ALIGN_BYTES 8

/* How far a reader is behind the producer. */
typedef struct aqd_lag {
    uint64_t records; /* published and not read; may count a batch that is being published */
    uint64_t bytes;   /* of the ring that they take, headers and padding records included */
    uint64_t age_ns;  /* the time given minus the timestamp of the oldest of them; 0 if there is none or it is later */
} aqd_lag;

/* A ring segment as readers and observers see it: where it lies, and what never changes in it. Every
 * field is private. */
struct aqd_ring_view {
    const unsigned char *ring;
    const unsigned char *data; /* INVARIANT: capacity granules from here are inside the ring segment */
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
    uint64_t tail;     /* as last loaded and accepted, continued to 64 bits */
    uint64_t expected_seq;
    uint32_t answered; /* the last space_wanted that was answered */
    bool seq_known;
    aqd_stats stats;
    aqd_evidence evidence;
    aqd_ring_info info;
} aqd_reader;

/* Attaches to a ring segment and a cursor segment, both aligned to 64 bytes. The ring is only read
 * and may be mapped read-only. Both stay the caller's and must outlive the reader; nobody else in
 * this process may write to them by plain accesses. AQD_OK; AQD_ERR_ARGUMENT, _MAGIC, _VERSION,
 * _CHECKSUM, _GEOMETRY, _SIZE, _CURSOR: *r is not a reader then; AQD_ERR_TAIL: *r is a reader, and
 * aqd_reader_next will say the same until the cursor's ring is put right. Never blocks. */
aqd_status aqd_reader_init(aqd_reader *r, const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes);

/* Copies the oldest unread record's payload into buf (cap bytes, any alignment) and describes it in
 * *rec. The copy is what is checked. AQD_OK; AQD_EMPTY; AQD_CLOSED; AQD_ERR_SPACE: cap < rec->len,
 * nothing consumed (a cap of info.max_payload never fails); AQD_ERR_GAP: *rec describes the record
 * that the next call delivers; AQD_ERR_PAYLOAD: *rec describes the lost record; AQD_ERR_HEADER: a
 * stretch was skipped; AQD_ERR_TAIL: it stands still, behind padding records at most. *rec is
 * untouched where it is not mentioned; buf means nothing unless the answer is AQD_OK. Does not
 * release: see aqd_reader_release. Never blocks. After AQD_EMPTY, who polls for throughput pauses
 * for some microseconds: each look takes the line of the tail away from the producer. */
aqd_status aqd_reader_next(aqd_reader *r, void *buf, size_t cap, aqd_record *rec);

/* As aqd_reader_next, but lends the payload where it lies: *payload (32-byte aligned, rec->len
 * bytes) until aqd_reader_release. For readers that trust the producer: the CRC is computed in
 * place, so a producer that breaks the protocol or has evicted this reader could change the bytes
 * after the check. A length or pointer outside the ring cannot come of it. Never AQD_ERR_SPACE. */
aqd_status aqd_reader_view(aqd_reader *r, const void **payload, aqd_record *rec);

/* Gives everything read so far back to the producer; what is not released is delivered again to the
 * next reader of this name. Ends all views. True: the producer waits for space, tell it (client:
 * done for you). One fence and one store, so once per batch is best. */
bool aqd_reader_release(aqd_reader *r);

/* Copies up to max records in turn into buf (cap bytes), one behind the other, each as by
 * aqd_reader_next, and describes them in items. *n (0..max) is set in every case: the first *n
 * items are good, whatever the answer; process them, then look at it. AQD_OK: *n > 0, and it ended
 * because max, cap or the published records did; AQD_EMPTY, AQD_CLOSED, AQD_ERR_SPACE: as by
 * aqd_reader_next, *n is 0; AQD_ERR_HEADER, _PAYLOAD, _GAP, _TAIL: met behind the *n records. Only
 * the payload lies in buf, so a cap of info.max_payload always gets one record. Does not release:
 * one aqd_reader_release is one cursor store for the batch. Never blocks; loops for at most max
 * records. max > 0. */
aqd_status aqd_reader_next_batch(aqd_reader *r, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n);

/* Describes the oldest unread record in *rec and leaves it unread; its header was checked, its
 * payload was not looked at. AQD_OK; else as aqd_reader_next, never AQD_ERR_SPACE. Never blocks. */
aqd_status aqd_reader_peek(aqd_reader *r, aqd_record *rec);

/* Consumes the oldest unread record without copying or checking its payload, and describes it in
 * *rec. As aqd_reader_peek otherwise. */
aqd_status aqd_reader_skip(aqd_reader *r, aqd_record *rec);

/* Moves forward to the record with number seq, for a program that stores (epoch, seq + 1 of the
 * last record) with what it made of it. Skipped records count as read; damage on the way is skipped
 * and counted. Nothing is released. AQD_OK: the next record read is seq; AQD_ERR_GONE: a later one,
 * evidence.found_seq (also if seq was read before: a gating reader never goes back); AQD_AHEAD: the
 * reader stands at the tail; AQD_ERR_EPOCH: not this ring's, nothing moved; AQD_ERR_TAIL. Never
 * blocks; skips at most 8 times the capacity and answers AQD_ERR_TAIL after that, which only a
 * broken producer brings about. */
aqd_status aqd_reader_seek(aqd_reader *r, uint64_t epoch, uint64_t seq);

/* Moves behind everything published so far. Skipped records count as read. Nothing is released.
 * AQD_OK or AQD_ERR_TAIL. Never blocks. */
aqd_status aqd_reader_skip_to_latest(aqd_reader *r);

/* Measures how far this reader is behind at now_ns, a time by the ring's clock_id. Changes nothing.
 * AQD_OK; AQD_ERR_TAIL: *lag is 0. Looks at no more headers than the ring has granules; mostly at
 * one. Never blocks. */
aqd_status aqd_reader_lag(const aqd_reader *r, uint64_t now_ns, aqd_lag *lag);

/* Announces a sleep: mode AQD_WAITING_FUTEX or _SOCKET. True: sleep now, by FUTEX_WAIT (not
 * private) on the ring's tail word with value *tail_seen or by poll(), always with a timeout, then
 * call aqd_reader_finish_sleep. False: do not sleep, there is something to read. Call it after
 * AQD_EMPTY and not after AQD_CLOSED, which nothing follows. tail_seen may be NULL. Never blocks. */
bool aqd_reader_prepare_sleep(aqd_reader *r, uint32_t mode, uint32_t *tail_seen);

/* Ends a sleep. timed_out: nothing but the timeout ended it. */
void aqd_reader_finish_sleep(aqd_reader *r, bool timed_out);

/* True if aqd_reader_next would answer something other than AQD_EMPTY, or skip padding records. Two
 * loads. */
bool aqd_reader_ready(const aqd_reader *r);

/* All three stay valid and constant in place as long as *r does; the first two change with the
 * calls above. */
const aqd_stats *aqd_reader_stats(const aqd_reader *r);
const aqd_evidence *aqd_reader_evidence(const aqd_reader *r);
const aqd_ring_info *aqd_reader_info(const aqd_reader *r);

#ifdef __cplusplus
}
#endif

#endif
