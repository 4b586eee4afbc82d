/* An observer over memory: it reads, never holds the producer back, and learns what it missed. No
 * system calls, no allocation, no libc.
 *
 * It needs the ring segment only and writes nothing. It trusts nothing it reads: whatever the bytes
 * are, and however they change meanwhile, no call reads outside the segment or loops more than 64
 * times the ring's capacity. Everything it hands out was checked after it was copied: first that it
 * had not been overwritten, then its CRC. There is no in-place reading, because a lent payload
 * could be overwritten at any moment. An aqd_observer belongs to one thread at a time; different
 * ones are independent. */
#ifndef AQUEDUCT_OBSERVER_H
#define AQUEDUCT_OBSERVER_H

#include "reader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Allocate it anywhere; aqd_observer_init fills it in. Every field is private. Nothing needs to be
 * freed. */
typedef struct aqd_observer {
    struct aqd_ring_view view;
    uint64_t position; /* INVARIANT: tail - position <= capacity */
    uint64_t tail;     /* as last loaded and accepted */
    uint64_t expected_seq;
    bool seq_known;
    bool overrun; /* and not reported yet by how much */
    aqd_stats stats;
    aqd_evidence evidence;
    aqd_ring_info info;
} aqd_observer;

/* Joins the ring segment at ring, aligned to 64 bytes, at its oldest intact record. The segment
 * remains the caller's, must outlive *o, and may be mapped read-only.
 * Returns AQD_OK; AQD_ERR_ARGUMENT, _MAGIC, _VERSION, _CHECKSUM, _GEOMETRY, _SIZE: *o is not an
 * observer then; AQD_ERR_TAIL: the control words are inconsistent, *o is an observer, and
 * aqd_observer_next will try again. Never blocks. */
aqd_status aqd_observer_init(aqd_observer *o, const void *ring, size_t ring_bytes);

/* Copies the payload of the oldest unread record, and its attributes after it, into buf (cap bytes,
 * any alignment) and describes the record in *rec. buf is meaningful only after AQD_OK. Never
 * blocks.
 * Returns AQD_OK; AQD_EMPTY; AQD_CLOSED; AQD_ERR_SPACE: as aqd_reader_next, but the record may be
 * overwritten before the next call; AQD_ERR_OVERRUN: records were overwritten unread, see below;
 * AQD_ERR_GAP, _PAYLOAD, _HEADER: as aqd_reader_next; AQD_ERR_TAIL: the control words are
 * inconsistent.
 * After AQD_ERR_OVERRUN, if evidence.found_seq > evidence.expected_seq, the difference was missed,
 * and *rec describes the record that the next call delivers, if it still exists. If they are equal,
 * the observer was overrun repeatedly within this call, and a later call reports the number. What
 * was overwritten before its first record was not missed: it merely starts later. */
aqd_status aqd_observer_next(aqd_observer *o, void *buf, size_t cap, aqd_record *rec);

/* Does what aqd_reader_next_batch does. AQD_ERR_OVERRUN, too, can be met after the *n records. */
aqd_status aqd_observer_next_batch(aqd_observer *o, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n);

/* Describes the oldest unread record in *rec and leaves it unread. Its header was checked, and was
 * not overwritten before it was copied; its payload was not looked at. Returns what
 * aqd_observer_next returns, except AQD_ERR_SPACE. */
aqd_status aqd_observer_peek(aqd_observer *o, aqd_record *rec);

/* Consumes the oldest unread record without copying it. Otherwise like aqd_observer_peek. */
aqd_status aqd_observer_skip(aqd_observer *o, aqd_record *rec);

/* Moves to the oldest intact record, then forward to sequence number seq.
 * Returns AQD_OK: seq is read next, unless it is overwritten first; AQD_ERR_GONE: a later record
 * is, evidence.found_seq; AQD_AHEAD: seq is not published yet, the observer is at the tail;
 * AQD_ERR_EPOCH: not this ring's epoch, nothing moved; AQD_ERR_OVERRUN: overrun repeatedly, a later
 * seek may succeed; AQD_ERR_TAIL. Never blocks. */
aqd_status aqd_observer_seek(aqd_observer *o, uint64_t epoch, uint64_t seq);

/* Moves past everything published so far. Returns AQD_OK. Never blocks. */
aqd_status aqd_observer_skip_to_latest(aqd_observer *o);

/* Measures how far this observer lags at now_ns, a time by the ring's clock_id. Records overwritten
 * unread count as unread. Changes nothing. Returns AQD_OK. Never blocks. */
aqd_status aqd_observer_measure_lag(const aqd_observer *o, uint64_t now_ns, aqd_lag *lag);

/* Returns true if aqd_observer_next would return something other than AQD_EMPTY, or skip padding.
 * Costs two loads. Poll it every few milliseconds: FUTEX_WAIT on the tail helps only next to a
 * gating reader that sleeps that way, because the producer does not know observers and wakes
 * none. */
bool aqd_observer_ready(const aqd_observer *o);

/* Return what the observer knows. Never NULL; valid and fixed in place as long as *o is; stats and
 * evidence change with the calls above. The stats count this observer's own losses; missed_wakes is
 * 0. */
const aqd_stats *aqd_observer_get_stats(const aqd_observer *o);
const aqd_evidence *aqd_observer_get_evidence(const aqd_observer *o);
const aqd_ring_info *aqd_observer_get_info(const aqd_observer *o);

#ifdef __cplusplus
}
#endif

#endif
