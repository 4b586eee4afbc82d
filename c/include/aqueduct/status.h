/* What every call of this library answers. Next: aqueduct/reader.h (memory only) or
 * aqueduct/client.h (Linux). */
#ifndef AQUEDUCT_STATUS_H
#define AQUEDUCT_STATUS_H

/* Of this library, by Semantic Versioning. What it was compiled as is told by aqd_version. */
#define AQD_VERSION "0.1.0"

/* The numbers are stable: new ones are only added. Below 16: an answer. From 16: an error. */
typedef enum aqd_status {
    AQD_OK = 0,
    AQD_EMPTY = 1,  /* no record now; more may come */
    AQD_CLOSED = 2, /* the producer closed the ring and everything was delivered */
    AQD_LOST = 3,   /* client only: the listener died without closing the ring; everything published was delivered */
    AQD_INTERRUPTED = 4,   /* client only: aqd_interrupt was called; told once however often it was called;
                            * aqd_open_with: stop_fd became readable */
    AQD_EPOCH_CHANGED = 5, /* client only: reconnected, and it is another ring; told once, before its first record */
    AQD_AHEAD = 6,         /* seeking: the number is not published yet; the reader stands at the tail */

    /* While reading. The reader stays usable after all of them. */
    AQD_ERR_HEADER = 16,  /* a damaged stretch was skipped; evidence says from where to where */
    AQD_ERR_PAYLOAD = 17, /* a record with a damaged payload was consumed; it is lost */
    AQD_ERR_GAP = 18,     /* sequence numbers jumped; nothing was consumed, the next call delivers the record */
    AQD_ERR_SPACE = 19,   /* the record is larger than the buffer; nothing was consumed */
    AQD_ERR_TAIL = 20, /* the tail is further than the ring is long: evicted, or the producer is broken; the reader stands still */
    AQD_ERR_OVERRUN = 21, /* observer: the producer overwrote records before they were read; it stands at the oldest that is left */
    AQD_ERR_GONE = 22,      /* seeking: the number is no longer there; the reader stands at the oldest record behind it */
    AQD_ERR_EPOCH = 23,     /* seeking: the number was stored for another ring; the reader did not move */

    /* While attaching. */
    AQD_ERR_ARGUMENT = 32,   /* a null or misaligned pointer, or a name or path that is too long */
    AQD_ERR_MAGIC = 33,      /* not a ring */
    AQD_ERR_VERSION = 34,    /* another ABI major */
    AQD_ERR_CHECKSUM = 35,   /* the ring header is damaged */
    AQD_ERR_GEOMETRY = 36,   /* epoch, capacity, largest payload or data offset break ABI 2.1 */
    AQD_ERR_SIZE = 37,       /* a segment is shorter than what it claims to hold */
    AQD_ERR_CURSOR = 38,     /* the cursor segment is damaged, or belongs to another ring */
    AQD_ERR_SYSTEM = 39,     /* a system call failed; the message names it, aqd_errno says why */
    AQD_ERR_TIMEOUT = 40,    /* the listener did not answer in time */
    AQD_ERR_HANGUP = 41,     /* the listener hung up during the handshake */
    AQD_ERR_PROTOCOL = 42,   /* its answer is not a WELCOME with the descriptors that belong to it */
    AQD_ERR_REFUSED = 43,    /* it refused; the message is the listener's own */
    AQD_ERR_NOT_SEALED = 44, /* a segment could be shortened under us, so that reading it could kill this process */
    AQD_ERR_MEMORY = 45,     /* out of memory */
    AQD_ERR_MODE = 46        /* not possible for an observer */
} aqd_status;

#endif
