/* What every call of this library returns, and what the values mean. */
#ifndef AQUEDUCT_STATUS_H
#define AQUEDUCT_STATUS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header, by Semantic Versioning; aqd_version reports that of the linked
 * library. The number is for comparisons: #if AQD_VERSION_NUMBER >= 100 means 0.1.0 or later. */
#define AQD_VERSION "0.1.0"
#define AQD_VERSION_MAJOR 0
#define AQD_VERSION_MINOR 1
#define AQD_VERSION_PATCH 0
#define AQD_VERSION_NUMBER (AQD_VERSION_MAJOR * 10000 + AQD_VERSION_MINOR * 100 + AQD_VERSION_PATCH)

/* The values are stable; new ones are only added. Below 16: an answer. From 16 on: an error. */
typedef enum aqd_status {
    AQD_OK = 0,
    AQD_EMPTY = 1,  /* no record now; more may come */
    AQD_CLOSED = 2, /* the producer closed the ring, and every record was delivered */

    /* The next three come from the client only. */
    AQD_LOST = 3,          /* the listener died without closing the ring; every published record was
                            * delivered */
    AQD_INTERRUPTED = 4,   /* aqd_interrupt was called; reported once however often it was called.
                            * From aqd_open_with: stop_fd became readable */
    AQD_EPOCH_CHANGED = 5, /* attached to another ring than before; reported once, before its first
                            * record */

    AQD_AHEAD = 6, /* seeking: the record is not published yet; the reader is at the tail */

    /* While reading. The reader remains usable after each of these. */
    AQD_ERR_HEADER = 16,  /* a damaged stretch was skipped; the evidence says from where to where */
    AQD_ERR_PAYLOAD = 17, /* a record with a damaged payload was consumed; it is lost */
    AQD_ERR_GAP = 18,     /* sequence numbers jumped; nothing was consumed, and the next call
                           * delivers the record */
    AQD_ERR_SPACE = 19,   /* the record is larger than the buffer; nothing was consumed */
    AQD_ERR_TAIL = 20,    /* the tail is farther ahead than the ring is long: the reader was evicted,
                           * or the producer is broken. The reader does not advance */
    AQD_ERR_OVERRUN = 21, /* observer: the producer overwrote records before they were read; the
                           * observer is now at the oldest one left */
    AQD_ERR_GONE = 22,    /* seeking: the record no longer exists; the reader is at the oldest one
                           * after it */
    AQD_ERR_EPOCH = 23,   /* seeking: the sequence number belongs to another ring; the reader did
                           * not move */

    /* While attaching. */
    AQD_ERR_ARGUMENT = 32,   /* an argument is out of range; aqd_message names it and its value */
    AQD_ERR_MAGIC = 33,      /* not a ring */
    AQD_ERR_VERSION = 34,    /* another major version of the ABI */
    AQD_ERR_CHECKSUM = 35,   /* the ring header is damaged */
    AQD_ERR_GEOMETRY = 36,   /* epoch, capacity, largest payload or data offset violate ABI 2.1 */
    AQD_ERR_SIZE = 37,       /* a segment is shorter than what it claims to hold */
    AQD_ERR_CURSOR = 38,     /* the cursor segment is damaged or belongs to another ring */
    AQD_ERR_SYSTEM = 39,     /* a system call failed; aqd_message names it, aqd_errno says why */
    AQD_ERR_TIMEOUT = 40,    /* the listener did not answer in time */
    AQD_ERR_HANGUP = 41,     /* the listener hung up during the handshake */
    AQD_ERR_PROTOCOL = 42,   /* its answer is not a WELCOME with the descriptors it should carry */
    AQD_ERR_REFUSED = 43,    /* it refused; aqd_message is its own explanation */
    AQD_ERR_NOT_SEALED = 44, /* a segment could be shortened while mapped, and reading it would then
                              * kill this process */
    AQD_ERR_MEMORY = 45,     /* out of memory */
    AQD_ERR_MODE = 46        /* not available to observers */
} aqd_status;

/* The functions below may be called from any thread and any signal handler. */

/* Returns 1 if nothing more will be read after this status: AQD_CLOSED, AQD_LOST, AQD_ERR_TAIL, and
 * everything from AQD_ERR_ARGUMENT on. Returns 0 otherwise. Reading loops end here. */
int aqd_is_end(aqd_status status);

/* Returns 1 if records were damaged or missed and the next call carries on: AQD_ERR_HEADER,
 * AQD_ERR_PAYLOAD, AQD_ERR_GAP, AQD_ERR_OVERRUN. Returns 0 otherwise. */
int aqd_is_damage(aqd_status status);

/* Describes a status in English. Returns a short constant string for every value, never NULL. */
const char *aqd_strerror(aqd_status status);

/* Return the AQD_VERSION and the AQD_VERSION_NUMBER of the linked library, which may be later than
 * this header's. */
const char *aqd_version(void);
uint32_t aqd_version_number(void);

#ifdef __cplusplus
}
#endif

#endif
