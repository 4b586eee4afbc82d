/* An observer over memory: looks, never holds the producer back, and is told what it missed. No
 * system calls, no allocation, no libc.
 *
 * It needs the ring segment and nothing else, and writes nothing. It believes nothing that it
 * reads: whatever the bytes are and however they change meanwhile, no call reads outside the
 * segment or loops for more than 64 times the ring's capacity, and what it hands out was checked
 * after it was copied: that it was still whole, then its CRC. There is no in-place reading: a lent
 * payload could be overwritten at any moment. One aqd_observer belongs to one thread at a time;
 * different ones are independent. */
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

/* Joins a ring segment aligned to 64 bytes, at the oldest record that is whole. The segment stays
 * the caller's and must outlive *o; it may be mapped read-only. AQD_OK; AQD_ERR_ARGUMENT, _MAGIC,
 * _VERSION, _CHECKSUM, _GEOMETRY, _SIZE: *o is not an observer then; AQD_ERR_TAIL: the control
 * words make no sense; *o is an observer, and aqd_observer_next tries again. Never blocks. */
aqd_status aqd_observer_init(aqd_observer *o, const void *ring, size_t ring_bytes);

/* Copies the oldest unread record's payload into buf (cap bytes, any alignment) and describes it in
 * *rec. AQD_OK; AQD_EMPTY; AQD_CLOSED; AQD_ERR_SPACE: cap < rec->len, nothing consumed (but it may
 * be overwritten before the next call); AQD_ERR_OVERRUN: records were overwritten unread. If
 * evidence.found_seq > evidence.expected_seq, the difference was missed, and *rec describes the
 * record that the next call delivers if it is still there; if both are equal, it was overrun again
 * and again within this call, and a later one tells. (Before its first record an observer misses
 * nothing, it starts later.) AQD_ERR_GAP, _PAYLOAD, _HEADER: as aqd_reader_next. AQD_ERR_TAIL: the
 * control words make no sense. buf means nothing unless the answer is AQD_OK. Never blocks. */
aqd_status aqd_observer_next(aqd_observer *o, void *buf, size_t cap, aqd_record *rec);

/* As aqd_reader_next_batch; AQD_ERR_OVERRUN, too, is met behind the *n records. */
aqd_status aqd_observer_next_batch(aqd_observer *o, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n);

/* Describes the oldest unread record and leaves it unread; its header was checked and whole. As
 * aqd_observer_next, never AQD_ERR_SPACE. */
aqd_status aqd_observer_peek(aqd_observer *o, aqd_record *rec);

/* Consumes the oldest unread record without copying it. As aqd_observer_peek. */
aqd_status aqd_observer_skip(aqd_observer *o, aqd_record *rec);

/* Goes back to the oldest record that is whole, then forward to number seq. AQD_OK: the next record
 * read is seq, unless it is overwritten before; AQD_ERR_GONE: a later one, evidence.found_seq;
 * AQD_AHEAD: it stands at the tail; AQD_ERR_EPOCH: nothing moved; AQD_ERR_OVERRUN: overrun again
 * and again, it stands somewhere and a later seek may succeed; AQD_ERR_TAIL. Never blocks. */
aqd_status aqd_observer_seek(aqd_observer *o, uint64_t epoch, uint64_t seq);

/* Moves behind everything published so far. AQD_OK. Never blocks. */
aqd_status aqd_observer_skip_to_latest(aqd_observer *o);

/* Measures how far this observer is behind at now_ns, a time by the ring's clock_id; what was
 * overwritten unread counts as not read. Changes nothing. AQD_OK. Never blocks. */
aqd_status aqd_observer_lag(const aqd_observer *o, uint64_t now_ns, aqd_lag *lag);

/* True if aqd_observer_next would answer something other than AQD_EMPTY, or skip padding records.
 * Two loads. To sleep until then, FUTEX_WAIT would do only beside a gating reader that sleeps so:
 * the producer wakes nobody whom it does not know. Look again after some milliseconds. */
bool aqd_observer_ready(const aqd_observer *o);

/* All three stay valid and constant in place as long as *o does; the first two change with the
 * calls above. The stats count this observer's own losses; missed_wakes is 0. */
const aqd_stats *aqd_observer_stats(const aqd_observer *o);
const aqd_evidence *aqd_observer_evidence(const aqd_observer *o);
const aqd_ring_info *aqd_observer_info(const aqd_observer *o);

#ifdef __cplusplus
}
#endif

#endif
