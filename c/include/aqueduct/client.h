/* Reading a running listener's ring from a Linux process: attach by its control socket, map the
 * ring, read, sleep, wake, reconnect.
 *
 *     aqd_client *c;
 *     if (aqd_open("/run/aqueduct.sock", "", "", 1000, &c) == AQD_OK) { ... aqd_next, aqd_release, aqd_wait ... }
 *     aqd_close(c);
 *
 * Threads. One client is used by one thread at a time, whichever; different clients are
 * independent; nothing is global. Exceptions are marked "any thread". No call raises a signal,
 * changes the signal mask or installs a handler. Hostility. Nothing the listener sends or writes
 * can make a call read outside its memory, loop for ever, leak or fault: segments that could be
 * shortened are refused. Fork. Every descriptor is close-on-exec. A child may call aqd_close, which
 * frees its copy and leaves the parent's connection alone, and nothing else: both would write the
 * same cursor. aqd_close in the process that opened ends the connection, whoever holds copies. */
#ifndef AQUEDUCT_CLIENT_H
#define AQUEDUCT_CLIENT_H

#include <stdint.h>

#include "observer.h"
#include "reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aqd_client aqd_client;

/* ---- Opening and closing ---- */

/* Where reading starts. */
typedef enum aqd_start {
    AQD_START_HERE = 0,   /* gating: where the subscription's last reader released; observer: as AQD_START_OLDEST */
    AQD_START_OLDEST = 1, /* the oldest record that is whole; a subscription goes back to it, and records it released come again */
    AQD_START_LATEST = 2  /* behind the last record; what the subscription still held is given up */
} aqd_start;

/* What aqd_open_with needs. Zero the whole, set size and path, then what you need: aqd_options o =
 * {0}; o.size = sizeof o; o.path = ...; Every 0 is a default. The structure only grows; size says
 * which one the program was compiled with. */
typedef struct aqd_options {
    size_t size;              /* sizeof(aqd_options), bytes */
    const char *path;         /* of the control socket, at most 107 bytes */
    const char *ring;         /* its name; NULL or "": the only ring */
    const char *subscription; /* its name; NULL or "": "default". Not looked at if observe */
    aqd_start start;          /* of the first attachment; after a new epoch it is AQD_START_HERE */
    int32_t observe;          /* not 0: an observer, which holds nobody back, may be overrun and takes no subscription */
    int32_t timeout_ms;       /* for each handshake; 0: 5000, -1: for ever in aqd_open_with and 5000 when reconnecting */
    int32_t reconnect_ms;     /* how long to try again after the listener's end; 0: not at all, -1: for ever */
    int32_t backoff_min_ms;   /* pause behind the first failed attempt, then doubled; 0: 20 */
    int32_t backoff_max_ms;   /* the longest pause; 0: 2000 */
    /* Programs compiled before these two fields were there are served as if both were 0. */
    int32_t open_retry_ms;    /* how long aqd_open_with tries again while there is no listener; 0: not at all, -1: for ever */
    int32_t stop_fd;          /* a descriptor of the caller's that ends aqd_open_with's waiting once it is readable; 0, -1: none */
} aqd_options;

/* Connects to the socket at path and attaches to `ring` under the name `subscription` (NULL or "":
 * the only ring, "default"), waiting timeout_ms at most (-1: for ever, 0: not at all). The strings
 * are copied. Reading goes on where the subscription's last reader released. *out is the caller's
 * to aqd_close in every case; it is NULL only after AQD_ERR_MEMORY and AQD_ERR_ARGUMENT. After
 * another error it is good for aqd_message, aqd_errno, aqd_refusal, aqd_fd (-1) and aqd_close only.
 * AQD_OK; AQD_ERR_ARGUMENT, _MEMORY, _SYSTEM (also: no descriptors left), _TIMEOUT, _HANGUP,
 * _PROTOCOL, _REFUSED, _NOT_SEALED; and what aqd_reader_init answers, of which AQD_ERR_TAIL is a
 * failure here. Blocks only for the listener, never beyond the timeout. */
aqd_status aqd_open(const char *path, const char *ring, const char *subscription, int timeout_ms, aqd_client **out);

/* The same with all options, as an observer if so asked. AQD_ERR_ARGUMENT also for a size that no
 * version of the structure has, for a later version's with something set beyond what this library
 * knows, for an unknown start and for negative numbers other than -1. A listener that does not know
 * observing or starting refuses: AQD_ERR_REFUSED.
 *
 * With open_retry_ms the program may be started before its listener: an attachment that a coming
 * listener can cure is tried again, with the pauses that backoff_min_ms and backoff_max_ms set, the
 * last time when open_retry_ms are over; the answer is that of the last one. Tried again are, and
 * nothing else is: AQD_ERR_SYSTEM with aqd_errno ENOENT (no socket, or no directory for it) or
 * ECONNREFUSED (nobody listens there); AQD_ERR_TIMEOUT; AQD_ERR_HANGUP; AQD_ERR_REFUSED with
 * AQD_WELCOME_SHUTTING_DOWN. All other refusals are final, busy and an unknown ring among them, for
 * there the listener is. Each attempt has timeout_ms, so the call lasts open_retry_ms + timeout_ms
 * at most.
 *
 * The waiting cannot be ended by aqd_interrupt, whose client is not there yet, nor by a signal
 * handler, behind which it goes on. It ends by stop_fd: AQD_INTERRUPTED, *out as after an error,
 * with the message of the attempt before. Let it be the reading end of a pipe, or an eventfd, that
 * a handler or another thread writes to, or a signalfd: what came before the call is not missed.
 * Nothing is read from it, and it is not used after this call. It is looked at before each wait and
 * during it, but within 500 ms only while a listener's backlog is full; what needs no wait is not
 * stopped. */
aqd_status aqd_open_with(const aqd_options *options, aqd_client **out);

/* Attaches to segments that came by another way. control_fd: a connected control socket behind its
 * handshake, or -1; the client takes it over unless the answer is AQD_ERR_ARGUMENT or _MEMORY.
 * ring_fd: the ring, readable; cursor_fd: the cursor segment, readable and writable, or -1 for an
 * observer; both stay the caller's and may be closed at once; their sizes are what fstat says,
 * their seals are checked. Without a control socket nobody can tell the end of the producer
 * (AQD_LOST never comes), nor wake this client, which then looks at the ring while it waits as an
 * observer does, nor tell the producer of space. Answers and *out: as aqd_open. Never blocks. */
aqd_status aqd_open_fds(int control_fd, int ring_fd, int cursor_fd, aqd_client **out);

/* Ends the connection, unmaps and frees, from whatever state, also a failed one; ends all views.
 * What was not released is delivered again to the next reader of the name. Nobody may be in
 * aqd_interrupt on c any more. c may be NULL. Never blocks. After a fork: see above. */
void aqd_close(aqd_client *c);

/* ---- Reading ---- Every one of these never blocks and delivers everything published before it
 * tells of an end. They answer what aqd_reader_next or aqd_observer_next answers, and in addition:
 * AQD_LOST: the listener has gone without closing the ring. Without aqd_wait or aqd_arm it is
 * noticed within 1024 calls that find nothing. With reconnect_ms, AQD_CLOSED and AQD_LOST come only
 * when that time is over. Until then, AQD_EMPTY while reconnecting; when attached again to the same
 * ring, reading goes on behind the last record read, none lost, none twice; when it is another
 * ring, AQD_EPOCH_CHANGED, once, *rec untouched: see aqd_get_change. Records read before and not
 * released were delivered and will not come again: finish with them, commit and aqd_release before
 * going on. A second reconnection waits for that aqd_release. */

/* Copies the oldest unread record out. AQD_ERR_SPACE never if cap is aqd_info(c)->max_payload; ask
 * again after AQD_EPOCH_CHANGED. */
aqd_status aqd_next(aqd_client *c, void *buf, size_t cap, aqd_record *rec);

/* Copies up to max records out, packed into buf; *n is always set. See aqd_reader_next_batch. One
 * aqd_release a batch: one cursor store. */
aqd_status aqd_next_batch(aqd_client *c, void *buf, size_t cap, aqd_item *items, size_t max, size_t *n);

/* Lends the payload in place until aqd_release or aqd_close, for readers that trust the producer:
 * see aqd_reader_view. Views live through AQD_EPOCH_CHANGED. AQD_ERR_MODE: an observer. */
aqd_status aqd_view(aqd_client *c, const void **payload, aqd_record *rec);

/* Describes the oldest unread record and leaves it unread; its payload was not looked at. */
aqd_status aqd_peek(aqd_client *c, aqd_record *rec);

/* Consumes the oldest unread record without copying it. */
aqd_status aqd_skip(aqd_client *c, aqd_record *rec);

/* Gives everything read so far back to the producer and tells it if it waits for space. Call it
 * once per batch, after the records are processed and before sleeping: a full ring waits for it.
 * Ends all views. AQD_OK always; for an observer it does nothing. Never blocks. */
aqd_status aqd_release(aqd_client *c);

/* ---- Finding a place ---- */

/* Moves to record number seq of the ring with this epoch: the first one wanted, so the last one
 * processed + 1. For exactly-once: store (epoch, rec.seq + 1) in the transaction that stores what
 * you made of the records, aqd_release after the commit; after a restart open, then aqd_seek:
 * records that were committed and not released are skipped. With AQD_START_OLDEST before it, older
 * numbers are found too, as far back as the ring reaches; call aqd_release behind it then, for
 * until then the ring is full. AQD_OK: seq is the next record; AQD_AHEAD: so it is once it is
 * published; everything before it was read; AQD_ERR_GONE: it is not there any more (or, gating,
 * lies before the reader's place), the next one is aqd_get_evidence(c)->found_seq; AQD_ERR_EPOCH:
 * another ring, nothing moved, all its records are new; AQD_ERR_TAIL; an observer also
 * AQD_ERR_OVERRUN: try again. Never blocks. */
aqd_status aqd_seek(aqd_client *c, uint64_t epoch, uint64_t seq);

/* Moves behind everything published so far; released by the next aqd_release. AQD_OK, AQD_ERR_TAIL.
 * Never blocks. */
aqd_status aqd_skip_to_latest(aqd_client *c);

/* ---- Sleeping and waking ---- */

/* Blocks until a reading call has something to say, at most timeout_ms (-1: for ever, 0: not at
 * all). AQD_OK: call one, which may still answer AQD_EMPTY if only padding records came; AQD_EMPTY:
 * timeout, or a signal handler ran; AQD_INTERRUPTED: aqd_interrupt was called, be it before, and
 * this answer uses it up; AQD_ERR_SYSTEM: poll failed, see aqd_errno. Reconnects meanwhile. An
 * observer is not woken by the producer: it looks every 1 to 32 ms, the longer the quieter. */
aqd_status aqd_wait(aqd_client *c, int timeout_ms);

/* Makes the present or else the next aqd_wait or aqd_arm answer AQD_INTERRUPTED; none is lost,
 * several are one. Any thread, any signal handler (async-signal-safe, errno preserved), at any time
 * from the successful aqd_open to the aqd_close. Never blocks. */
void aqd_interrupt(aqd_client *c);

/* For an event loop of your own (epoll, poll, libuv, libevent) instead of aqd_wait. The descriptor
 * is the client's, the same from open to close through all reconnections; ask it for reading only;
 * never read, write or close it. -1 if aqd_open failed.
 *   1. Read until AQD_EMPTY, aqd_release, then aqd_arm.
 *   2. AQD_OK: back to 1 without sleeping. AQD_EMPTY: sleep until the descriptor is readable or
 *      *sleep_ms are over, whichever is first.
 *   3. Back to 1, whatever ended the sleep. Readable does not promise a record. Level-triggered: it
 *      is readable while a wake-up, the listener's end or an interrupt has not been taken, and
 *      aqd_arm and the reading calls take them. Edge-triggered works too: aqd_arm answers AQD_EMPTY
 *      only after everything that would be no new edge was taken. The producer wakes once per
 *      aqd_arm, so a sleep without it is a sleep until the timeout. */
int aqd_fd(const aqd_client *c);

/* Announces a sleep, see aqd_fd. AQD_OK: do not sleep, read; AQD_EMPTY: sleep at most *sleep_ms
 * (1..500; never longer, so that no lost wake-up can cost more); AQD_INTERRUPTED: see aqd_wait,
 * nothing is announced. Ends by the next reading call or aqd_arm. Never blocks. */
aqd_status aqd_arm(aqd_client *c, int *sleep_ms);

/* ---- What it knows ---- */

/* Not for a client whose aqd_open failed; constant until AQD_EPOCH_CHANGED. A buffer of max_payload
 * bytes holds every record. */
const aqd_ring_info *aqd_info(const aqd_client *c);

/* Of this attachment; an observer's own. */
const aqd_stats *aqd_get_stats(const aqd_client *c);

/* The facts behind the latest AQD_ERR_HEADER, _PAYLOAD, _GAP, _TAIL, _OVERRUN or _GONE. */
const aqd_evidence *aqd_get_evidence(const aqd_client *c);

/* How far this client is behind, now, by the ring's clock; age_ns is 0 if that clock is private to
 * the producer. As aqd_reader_lag. */
aqd_status aqd_get_lag(const aqd_client *c, aqd_lag *lag);

/* Since aqd_open, through all reconnections. */
typedef struct aqd_totals {
    uint64_t records;       /* delivered by aqd_next, aqd_view and aqd_next_batch */
    uint64_t payload_bytes; /* of these */
    uint64_t skipped;       /* by aqd_skip */
    uint64_t sleeps;        /* announced, by aqd_wait or aqd_arm */
    uint64_t attachments;   /* the first included */
    uint64_t attempts;      /* to reconnect, successful or not */
} aqd_totals;

const aqd_totals *aqd_get_totals(const aqd_client *c);

/* `missed` of an aqd_change, or'ed. */
enum {
    AQD_MISSED_OLD = 1, /* the old ring's last records: this reader had been evicted */
    AQD_MISSED_NEW = 2  /* the new ring's first records: somebody else released them, or they were overwritten */
};

/* What an AQD_EPOCH_CHANGED is about. missed == 0: everything that both rings published was or will
 * be delivered. That does not speak of a third listener that came and went within down_ms, for it
 * leaves no trace: whoever must know numbers the records at their source. */
typedef struct aqd_change {
    uint64_t old_epoch;
    uint64_t new_epoch;
    uint64_t old_next_seq; /* of the old ring: the last number read + 1; 0: none was read */
    uint64_t down_ms;      /* from noticing the old listener's end to this attachment */
    aqd_status old_end;    /* AQD_CLOSED, AQD_LOST: everything published was read; AQD_ERR_TAIL: not */
    uint32_t missed;       /* AQD_MISSED_... */
} aqd_change;

/* The latest; all 0 before the first. */
const aqd_change *aqd_get_change(const aqd_client *c);

/* Whether a listener is attached as far as is known: 0 while reconnecting and after AQD_LOST.
 * Always 1 without a control socket. */
int aqd_is_attached(const aqd_client *c);

/* Why aqd_open, the latest attempt to reconnect or aqd_wait failed, for people: after
 * AQD_ERR_REFUSED in the listener's words (control bytes replaced). "" if it did not fail. Lives as
 * long as c and changes with the calls that reconnect. c may be NULL. */
const char *aqd_message(const aqd_client *c);

/* The same for programs if it was a system call, AQD_ERR_SYSTEM: its errno, of <errno.h>, ENOENT if
 * there is no socket at the path, ECONNREFUSED if nobody listens there. 0 after any other failure
 * or none. Independent of errno's present value. c may be NULL. */
int aqd_errno(const aqd_client *c);

/* AQD_WELCOME_...: the number the listener answered with; 0 if it did not refuse. c may be NULL. */
uint32_t aqd_refusal(const aqd_client *c);

/* A short English description, constant for ever, for every number. Any thread, any signal handler;
 * never NULL. */
const char *aqd_strerror(aqd_status status);

/* The AQD_VERSION of the library that is linked, which may be a later one than this header's. Any
 * thread, any signal handler. */
const char *aqd_version(void);

#ifdef __cplusplus
}
#endif

#endif
