/* A gating reader for Linux processes: attaches to a running listener by its control socket and reads its ring.
 *
 *     aqd_client *c;
 *     if (aqd_open("/run/aqueduct.sock", "", "", 1000, &c) == AQD_OK) { ... aqd_next, aqd_release, aqd_wait ... }
 *     aqd_close(c);
 *
 * One client belongs to one thread at a time; different clients are independent. A subscription has one reader at a time: the listener
 * refuses a second. No call raises a signal. Nothing the listener sends or writes can make a call read outside its memory, loop for ever or leak. */
#ifndef AQUEDUCT_CLIENT_H
#define AQUEDUCT_CLIENT_H

#include <stdint.h>

#include "reader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aqd_client aqd_client;

/* Connects to the socket at path and attaches to `ring` under the name `subscription` (NULL or "": the only ring, "default"), waiting
 * timeout_ms at most (-1: for ever). The strings are copied. Reading goes on where the subscription's last reader released.
 * *out is the caller's to aqd_close in every case; it is NULL only after AQD_ERR_MEMORY and AQD_ERR_ARGUMENT. After another error it is
 * good for aqd_message, aqd_refusal and aqd_close only.
 * AQD_OK; AQD_ERR_ARGUMENT, _MEMORY, _SYSTEM, _TIMEOUT, _HANGUP, _PROTOCOL, _REFUSED, _NOT_SEALED; and what aqd_reader_init answers, of
 * which AQD_ERR_OVERRUN is a failure here. Blocks only for the listener, never beyond the timeout. */
aqd_status aqd_open(const char *path, const char *ring, const char *subscription, int timeout_ms, aqd_client **out);

/* Detaches, unmaps and frees. What was not released is delivered again to the next reader of the name. c may be NULL. */
void aqd_close(aqd_client *c);

/* Copies the oldest unread record out: aqd_reader_next, with the end of the listener added: when it has gone, AQD_LOST or AQD_CLOSED, but
 * only after everything that was published has been delivered. Never blocks. Without aqd_wait the end is noticed within 1024 calls that
 * find nothing. Never AQD_ERR_SPACE if cap is aqd_info(c)->max_payload. */
aqd_status aqd_next(aqd_client *c, void *buf, size_t cap, aqd_record *rec);

/* The same by aqd_reader_view: lends the payload until aqd_release, for readers that trust the producer. Never blocks. */
aqd_status aqd_view(aqd_client *c, const void **payload, aqd_record *rec);

/* Gives everything read so far back to the producer and tells it if it waits for space. Call it once per batch, after the records are
 * processed and before aqd_wait: a full ring waits for it. Ends all views. AQD_OK always. Never blocks. */
aqd_status aqd_release(aqd_client *c);

/* Blocks until aqd_next has something to say, at most timeout_ms (-1: for ever, 0: not at all). AQD_OK: call aqd_next, which may still
 * answer AQD_EMPTY if only fillers came; AQD_EMPTY: timeout, or a signal handler ran; AQD_ERR_SYSTEM: poll failed. */
aqd_status aqd_wait(aqd_client *c, int timeout_ms);

/* The control socket, for an event loop of your own that wants to see the listener hang up; it stays the client's, and only the client
 * reads from it. The listener sends wake-ups on it only while aqd_wait sleeps, so an event loop calls aqd_next on a timer. */
int aqd_fd(const aqd_client *c);

/* Constant while c is open; not for a client whose aqd_open failed. A buffer of max_payload bytes holds every record. */
const aqd_ring_info *aqd_info(const aqd_client *c);
const aqd_stats *aqd_get_stats(const aqd_client *c);
/* The facts behind the latest AQD_ERR_HEADER, _PAYLOAD, _GAP or _OVERRUN. */
const aqd_evidence *aqd_get_evidence(const aqd_client *c);

/* Why aqd_open failed, for people: after AQD_ERR_REFUSED in the listener's words (control bytes replaced). "" if it did not fail.
 * Lives as long as c. c may be NULL. */
const char *aqd_message(const aqd_client *c);

/* AQD_WELCOME_...: the number the listener answered with; 0 if it did not refuse. c may be NULL. */
uint32_t aqd_refusal(const aqd_client *c);

/* A short English description, constant for ever. Thread-safe; never NULL. */
const char *aqd_strerror(aqd_status status);

#ifdef __cplusplus
}
#endif

#endif
