/* Reads a running listener's ring from a Linux process: attaches through its control socket, maps
 * the ring, reads, sleeps, wakes up, reconnects.
 *
 *     aqd_client *c;
 *     if (aqd_open("/run/aqueduct.sock", "", "", 1000, &c) == AQD_OK) {
 *         ... aqd_next_wait, aqd_release ...
 *     }
 *     aqd_close(c);
 *
 * Threads. A client is used by one thread at a time, any one; different clients are independent;
 * nothing is global. Exceptions are marked "any thread". No call raises a signal, changes the
 * signal mask or installs a handler.
 *
 * Hostility. Nothing the listener sends or writes can make a call read outside its memory, loop
 * forever, leak or fault: segments that could be shortened are rejected.
 *
 * Fork. Every descriptor is close-on-exec. A child may call aqd_close, which frees its copy and
 * leaves the parent's connection alone, and nothing else: both would write the same cursor.
 * aqd_close in the process that opened ends the connection, even if other processes hold copies. */
#ifndef AQUEDUCT_CLIENT_H
#define AQUEDUCT_CLIENT_H

#include <stdint.h>

#include "attributes.h"
#include "observer.h"
#include "reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aqd_client aqd_client;

/* ---- Opening and closing ---- */

/* Where reading starts. */
typedef enum aqd_start {
    AQD_START_HERE = 0,   /* gating: where the subscription's last reader released; observer: like
                           * AQD_START_OLDEST */
    AQD_START_OLDEST = 1, /* the oldest intact record; a subscription goes back to it, and records it
                           * had released come again */
    AQD_START_LATEST = 2  /* after the last record; the subscription gives up what it still held */
} aqd_start;

/* What aqd_open_with takes. Zero the whole structure, set size and path, then whatever you need:
 * aqd_options o = {0}; o.size = sizeof o; o.path = ...; Every 0 is a default. The structure only
 * grows; size says which version of it the program was compiled with. */
typedef struct aqd_options {
    size_t size;              /* sizeof(aqd_options), bytes */
    const char *path;         /* of the control socket, at most 107 bytes */
    const char *ring;         /* its name; NULL or "": the only ring */
    const char *subscription; /* its name; NULL or "": "default". Ignored if observe is set */
    aqd_start start;          /* of the first attachment; after a new epoch it is AQD_START_HERE */
    int32_t observe;          /* nonzero: an observer, which holds nobody back, can be overrun and
                               * takes no subscription */
    int32_t timeout_ms;       /* for each handshake; 0: 5000; -1: no limit in a blocking
                               * aqd_open_with, 5000 elsewhere */
    int32_t reconnect_ms;     /* how long to retry after the listener has ended; 0: not at all,
                               * -1: forever */
    int32_t backoff_min_ms;   /* pause after the first failed attempt, then doubled; 0: 20 */
    int32_t backoff_max_ms;   /* the longest pause; 0: 2000 */
    /* Added later: programs compiled without these two are served as if both were 0. */
    int32_t open_retry_ms;    /* how long opening retries while there is no listener; 0: not at all,
                               * -1: forever */
    int32_t stop_fd;          /* a descriptor of the caller's that ends a blocking aqd_open_with as
                               * soon as it is readable; 0, -1: none */
    /* Added later, likewise. */
    int32_t nonblocking;      /* nonzero: aqd_open_with does not wait, see there */
    int32_t standby;          /* nonzero: opening also retries while another reader holds the
                               * subscription */
} aqd_options;

/* Connects to the socket at path and attaches to `ring` as `subscription` (NULL or "": the only
 * ring, "default"), waiting at most timeout_ms (-1: forever, 0: not at all). Copies the strings.
 * Reading resumes where the subscription's last reader released. *out is the caller's to aqd_close
 * whatever the status; it is NULL only after AQD_ERR_MEMORY. After an error it is good for
 * aqd_message, aqd_errno, aqd_refusal, aqd_fd (-1) and aqd_close only.
 * Returns AQD_OK; AQD_ERR_ARGUMENT, _MEMORY, _SYSTEM (also if there are no descriptors left),
 * _TIMEOUT, _HANGUP, _PROTOCOL, _REFUSED, _NOT_SEALED; and what aqd_reader_init returns, of which
 * AQD_ERR_TAIL is a failure here. Blocks only on the listener, never longer than the timeout. */
aqd_status aqd_open(const char *path, const char *ring, const char *subscription, int timeout_ms, aqd_client **out);

/* Opens with all options. AQD_ERR_ARGUMENT covers, in addition: a size that no version of the
 * structure has; a later version's structure with something set that this library does not know; an
 * unknown start; negative numbers other than -1. A listener that predates observing or starting
 * refuses: AQD_ERR_REFUSED.
 *
 * Retrying. With open_retry_ms the program may be started before its listener. An attempt is
 * repeated if a listener that comes up or some time can cure its failure, with the pauses that
 * backoff_min_ms and backoff_max_ms set, and for the last time when open_retry_ms have passed; the
 * status is that of the last attempt. Exactly these are repeated: AQD_ERR_SYSTEM with aqd_errno
 * ENOENT (no socket, or no directory for it) or ECONNREFUSED (nothing listens there);
 * AQD_ERR_TIMEOUT; AQD_ERR_HANGUP; AQD_ERR_REFUSED with AQD_WELCOME_SHUTTING_DOWN, with
 * AQD_WELCOME_NO_RESOURCE (too many observers, no memory) and, with standby, AQD_WELCOME_BUSY.
 * Every other refusal is final, such as an unknown ring, because the listener is there. A lack that
 * never passes (RLIMIT_FSIZE of the listener, observers that never leave) looks like one that does:
 * with -1 the call then never returns, unless stop_fd ends it. Each attempt takes at most
 * timeout_ms, so the call takes at most open_retry_ms + timeout_ms.
 *
 * Stopping. aqd_interrupt cannot cancel a blocking open, because there is no client yet, and the
 * wait resumes after a signal handler returns. stop_fd ends it: AQD_INTERRUPTED, with *out as after
 * an error and the message of the previous attempt. Use an eventfd, the reading end of a pipe that
 * a handler or another thread writes to, or a signalfd: what became readable before the call
 * counts. Nothing is read from it, and it is not used after this call returns. It is checked before
 * and during each wait, but only every 500 ms while a listener's backlog is full.
 *
 * Not waiting. With nonblocking the call connects if it can at once and returns: AQD_OK, or a
 * failure that retrying is not asked or not able to cure. Opening continues inside aqd_wait,
 * aqd_arm and the reading calls, so that aqd_fd fits an event loop from the start. Until the client
 * is attached, the reading calls return AQD_EMPTY, aqd_get_info is all 0, and seeking does nothing
 * (AQD_EMPTY). Then they return AQD_EPOCH_CHANGED once (aqd_get_change: old_epoch 0), and it is
 * time to allocate a buffer of max_payload; or, from then on, the status with which opening failed.
 * timeout_ms, open_retry_ms and standby apply as above, stop_fd does not. */
aqd_status aqd_open_with(const aqd_options *options, aqd_client **out);

/* Attaches to segments received by other means. control_fd: a connected control socket after its
 * handshake, or -1; the client takes ownership unless it returns AQD_ERR_ARGUMENT or _MEMORY.
 * ring_fd: the ring, readable. cursor_fd: the cursor segment, readable and writable, or -1 for an
 * observer. Both remain the caller's and may be closed right away; their sizes are taken from
 * fstat, their seals are checked. Without a control socket, nothing can report the producer's end
 * (AQD_LOST never comes), wake this client, which then polls the ring while it waits as an observer
 * does, or tell the producer of space. Status and *out: as aqd_open. Never blocks. */
aqd_status aqd_open_fds(int control_fd, int ring_fd, int cursor_fd, aqd_client **out);

/* Ends the connection, unmaps and frees, in any state, also a failed one; ends all views. What was
 * not released is delivered again to the subscription's next reader. No aqd_interrupt on c may be
 * running. c may be NULL. Never blocks. After a fork: see above. */
void aqd_close(aqd_client *c);

/* ---- Reading ----
 *
 * Except for aqd_next_wait, none of these blocks, and all deliver everything published before they
 * report an end. They return what aqd_reader_next or aqd_observer_next returns, and in addition:
 *
 * AQD_LOST: the listener ended without closing the ring. A program that calls neither aqd_wait nor
 * aqd_arm learns it within 1024 calls that find nothing.
 *
 * With reconnect_ms, AQD_CLOSED and AQD_LOST come only when that time has passed. Until then the
 * calls return AQD_EMPTY while reconnecting. Attached again to the same ring, reading resumes after
 * the last record read: none lost, none twice. If it is another ring: AQD_EPOCH_CHANGED, once, *rec
 * unchanged; see aqd_get_change. Records that were read but not released have been delivered and
 * will not come again: finish with them, commit, and aqd_release before reading on. A second
 * reconnection waits for that aqd_release. */

/* Copies the oldest unread record out. Never AQD_ERR_SPACE if cap is aqd_max_payload(c); ask again
 * after AQD_EPOCH_CHANGED. */
aqd_status aqd_next(aqd_client *c, void *buf, size_t cap, aqd_record *rec);

/* Copies the oldest unread record out, blocking until there is one, but at most timeout_ms (-1:
 * forever, 0: not at all). Returns AQD_EMPTY: the time has passed, or a signal handler ran;
 * AQD_INTERRUPTED; AQD_ERR_SYSTEM; otherwise what aqd_next returns. Does not release: release what
 * you have processed before you wait, because a full ring waits for it. */
aqd_status aqd_next_wait(aqd_client *c, void *buf, size_t cap, aqd_record *rec, int timeout_ms);

/* Copies up to max records out, packed into buf; *n is always set. See aqd_reader_next_batch. One
 * aqd_release per batch is one cursor store. */
aqd_status aqd_next_batch(aqd_client *c, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n);

/* Lends the payload in place until aqd_release or aqd_close, for readers that trust the producer:
 * see aqd_reader_view. Views survive AQD_EPOCH_CHANGED. AQD_ERR_MODE: an observer. */
aqd_status aqd_view(aqd_client *c, const void **payload, aqd_record *rec);

/* Describes the oldest unread record and leaves it unread; its payload was not checked. */
aqd_status aqd_peek(aqd_client *c, aqd_record *rec);

/* Consumes the oldest unread record without copying it. */
aqd_status aqd_skip(aqd_client *c, aqd_record *rec);

/* Returns everything read so far to the producer, and tells it if it is waiting for space. Call it
 * after processing, at least every few dozen records and before sleeping: a full ring waits for it.
 * Ends all views. Returns AQD_OK always; does nothing for an observer. Never blocks. */
aqd_status aqd_release(aqd_client *c);

/* ---- Finding a place ---- */

/* Moves to sequence number seq of the ring with this epoch: the first record wanted, that is, the
 * last one processed + 1. For exactly-once processing, store (epoch, rec.seq + 1) in the
 * transaction that stores your results, and aqd_release after the commit; after a restart, open and
 * aqd_seek, which skips what was committed but not released. With AQD_START_OLDEST older records
 * are found too, as far back as the ring reaches; aqd_release after the seek then, because the ring
 * is full until you do.
 * Returns AQD_OK: seq is read next; AQD_AHEAD: it will be once it is published, everything before
 * it was read; AQD_ERR_GONE: it no longer exists (or, for a gating reader, precedes its place), and
 * the next one is aqd_get_evidence(c)->found_seq; AQD_ERR_EPOCH: another ring, nothing moved, and
 * all its records are new; AQD_ERR_TAIL; for an observer also AQD_ERR_OVERRUN: try again. Never
 * blocks. */
aqd_status aqd_seek(aqd_client *c, uint64_t epoch, uint64_t seq);

/* Moves past everything published so far; the next aqd_release releases it. Returns AQD_OK or
 * AQD_ERR_TAIL. Never blocks. */
aqd_status aqd_skip_to_latest(aqd_client *c);

/* ---- Sleeping and waking up ---- */

/* Blocks until a reading call has something to report, but at most timeout_ms (-1: forever, 0: not
 * at all). Reconnects meanwhile. The producer does not wake observers: they look every 1 to 32 ms,
 * less often the quieter it is. A wake-up costs two system calls.
 * Returns AQD_OK: call a reading function, which may still return AQD_EMPTY if only padding came;
 * AQD_EMPTY: the time has passed, or a signal handler ran; AQD_INTERRUPTED: aqd_interrupt was
 * called, possibly earlier, and this answer consumes it; AQD_ERR_SYSTEM: see aqd_errno. */
aqd_status aqd_wait(aqd_client *c, int timeout_ms);

/* Makes the current, or else the next, aqd_wait, aqd_next_wait or aqd_arm return AQD_INTERRUPTED.
 * None is lost; several count as one. Any thread, any signal handler (async-signal-safe, preserves
 * errno), from a successful open until aqd_close. Never blocks. */
void aqd_interrupt(aqd_client *c);

/* Returns the descriptor for an event loop of your own (epoll, poll, libuv, libevent) instead of
 * aqd_wait. It belongs to the client and is the same from open to close, through every
 * reconnection; watch it for reading only; never read, write or close it. -1 if opening failed.
 *   1. Read until AQD_EMPTY, aqd_release, then aqd_arm(c, NULL).
 *   2. AQD_OK: back to 1 without sleeping. AQD_EMPTY: sleep until the descriptor is readable.
 *   3. Back to 1. Readable does not promise a record.
 * Level-triggered: it is readable while a wake-up, the listener's end, an interrupt or a tick has
 * not been consumed, and aqd_arm and the reading calls consume them. Edge-triggered works, too:
 * aqd_arm returns AQD_EMPTY only after it has consumed everything that would cause no new edge. The
 * producer wakes once per aqd_arm, so a sleep without one lasts until the next tick. */
int aqd_fd(const aqd_client *c);

/* Announces a sleep, see aqd_fd. It ends with the next reading call or aqd_arm. No sleep is longer
 * than 500 ms, so that a lost wake-up costs no more. Never blocks. sleep_ms NULL: the client keeps
 * the time by a timer of its own, and aqd_fd becomes readable when it is up. Otherwise *sleep_ms is
 * set (0..500), and the program must stop sleeping after it by itself.
 * Returns AQD_OK: do not sleep, read; AQD_EMPTY: sleep; AQD_INTERRUPTED: see aqd_wait, nothing is
 * announced; AQD_ERR_SYSTEM: the timer could not be made, nothing is announced. */
aqd_status aqd_arm(aqd_client *c, int *sleep_ms);

/* ---- What a client knows ----
 *
 * aqd_get_X returns a pointer, never NULL, that is valid until aqd_close. None of these blocks. Not
 * for a client whose opening failed, unless marked "any state". */

/* What is fixed in the ring; changes only with AQD_EPOCH_CHANGED. */
const aqd_ring_info *aqd_get_info(const aqd_client *c);

/* Those of this attachment; an observer's own. */
const aqd_stats *aqd_get_stats(const aqd_client *c);

/* The facts behind the latest AQD_ERR_HEADER, _PAYLOAD, _GAP, _TAIL, _OVERRUN or _GONE. */
const aqd_evidence *aqd_get_evidence(const aqd_client *c);

/* Measures how far this client lags now, by the ring's clock; age_ns is 0 if that clock is private
 * to the producer. A reader that is fed from the listener's journal (ABI 6.5) lags behind what it
 * was fed by now. See aqd_reader_measure_lag. */
aqd_status aqd_measure_lag(const aqd_client *c, aqd_lag *lag);

/* Counts since opening, through every reconnection. */
typedef struct aqd_totals {
    uint64_t records;       /* delivered by aqd_next, aqd_next_wait, aqd_view and aqd_next_batch */
    uint64_t payload_bytes; /* of these */
    uint64_t skipped;       /* by aqd_skip */
    uint64_t sleeps;        /* announced by aqd_wait or aqd_arm */
    uint64_t attachments;   /* including the first */
    uint64_t attempts;      /* to reconnect, successful or not */
} aqd_totals;

const aqd_totals *aqd_get_totals(const aqd_client *c);

/* `missed` of an aqd_change, combined by or. */
enum {
    AQD_MISSED_OLD = 1, /* the old ring's last records: this reader had been evicted */
    AQD_MISSED_NEW = 2  /* the new ring's first records: another reader released them, or they were
                         * overwritten */
};

/* What an AQD_EPOCH_CHANGED is about. missed == 0: everything that both rings published was or will
 * be delivered. A third listener that came and went within down_ms leaves no trace and is not
 * covered: if that matters, number the records at their source. */
typedef struct aqd_change {
    uint64_t old_epoch;    /* 0: there was none, this is the first attachment */
    uint64_t new_epoch;
    uint64_t old_next_seq; /* of the old ring: the last sequence number read + 1; 0: none was read */
    uint64_t down_ms;      /* from noticing the old listener's end to this attachment */
    aqd_status old_end;    /* AQD_CLOSED, AQD_LOST: everything published was read; AQD_ERR_TAIL: not */
    uint32_t missed;       /* AQD_MISSED_... */
} aqd_change;

/* The latest change; all 0 before the first. */
const aqd_change *aqd_get_change(const aqd_client *c);

/* Returns 1 if a listener is attached as far as is known, 0 before the first attachment, while
 * reconnecting and after AQD_LOST. Always 1 without a control socket. */
int aqd_is_attached(const aqd_client *c);

/* Explains, in words, why opening, the latest attempt to reconnect, or waiting failed. After
 * AQD_ERR_ARGUMENT it names the argument and its value; after AQD_ERR_REFUSED it is the listener's
 * own text (control bytes replaced). "" if nothing failed. Valid until aqd_close, and changed by
 * calls that reconnect. Any state; c may be NULL, and then it says that there is no client. */
const char *aqd_message(const aqd_client *c);

/* Returns the errno behind AQD_ERR_SYSTEM, of <errno.h>: ENOENT if there is no socket at the path,
 * ECONNREFUSED if nothing listens there. 0 after any other failure or none. Independent of the
 * current errno. Any state; c may be NULL. */
int aqd_errno(const aqd_client *c);

/* Returns the number with which the listener refused, AQD_WELCOME_...; 0 if it did not. Any state;
 * c may be NULL. */
uint32_t aqd_refusal(const aqd_client *c);

/* Return single members of the structures above, for foreign function interfaces. */
uint64_t aqd_epoch(const aqd_client *c);        /* aqd_get_info(c)->epoch */
uint32_t aqd_max_payload(const aqd_client *c);  /* aqd_get_info(c)->max_payload, bytes */
const char *aqd_ring_name(const aqd_client *c); /* aqd_get_info(c)->name */
uint32_t aqd_corrupt(const aqd_client *c);      /* aqd_get_stats(c)->corrupt */
uint32_t aqd_lost(const aqd_client *c);         /* aqd_get_stats(c)->lost */

#ifdef __cplusplus
}
#endif

#endif
