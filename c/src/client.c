/* Using an attached client: reading, releasing, waiting, and the end of the listener. ABI 4.5, 6.3. Contracts: aqueduct/client.h. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Every sleep has a timeout, so that a wake-up lost by whoever's fault costs no more than this. */
#define SLEEP_SLICE_MS 500
/* Packets taken from the socket at one go: a listener that never stops sending does not keep us here. */
#define DRAIN_MAX 256
/* A reader that polls without aqd_wait looks at the socket once in so many calls that find nothing; a power of two. */
#define EMPTY_CALLS_PER_LOOK 1024u

int64_t aqd_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int aqd_poll_ms(int64_t deadline_ms, int slice_ms)
{
    if (deadline_ms < 0) {
        return slice_ms;
    }
    int64_t left = deadline_ms - aqd_now_ms();
    return left < 0 ? 0 : left < slice_ms ? (int)left : slice_ms;
}

/* Takes the waiting packets, whatever they say: a wake-up needs no reading, and later minors may add others. */
static void drain(aqd_client *c)
{
    for (int i = 0; i < DRAIN_MAX && !c->hung_up; i++) {
        unsigned char packet[16];
        ssize_t got = recv(c->fd, packet, sizeof packet, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            c->hung_up = true;
        } else if (got < 0 && errno == EAGAIN) {
            return;
        }
    }
}

/* Turns "nothing now" into "nothing any more". The hang-up is remembered before the reader looked, and what the listener published
 * came before its end, so nothing can be missed. True: the reader has to look again, for the hang-up is news. */
static bool end_of_listener(aqd_client *c, aqd_status *status)
{
    if (c->hung_up) {
        *status = AQD_LOST;
        return false;
    }
    if (++c->empty_calls % EMPTY_CALLS_PER_LOOK == 0) {
        drain(c);
    }
    return c->hung_up;
}

aqd_status aqd_next(aqd_client *c, void *buf, size_t cap, aqd_record *rec)
{
    aqd_status status;
    do {
        status = aqd_reader_next(&c->reader, buf, cap, rec);
    } while (status == AQD_EMPTY && end_of_listener(c, &status));
    return status;
}

aqd_status aqd_view(aqd_client *c, const void **payload, aqd_record *rec)
{
    aqd_status status;
    do {
        status = aqd_reader_view(&c->reader, payload, rec);
    } while (status == AQD_EMPTY && end_of_listener(c, &status));
    return status;
}

aqd_status aqd_release(aqd_client *c)
{
    if (aqd_reader_release(&c->reader) && !c->hung_up) {
        /* One that does not fit is as good as sent: the listener has unread ones and will look. One that meets a closed socket is
         * noticed when the socket is read. */
        const unsigned char packet = AQD_PACKET_SPACE;
        (void)!send(c->fd, &packet, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return AQD_OK;
}

aqd_status aqd_wait(aqd_client *c, int timeout_ms)
{
    int64_t deadline_ms = timeout_ms < 0 ? -1 : aqd_now_ms() + timeout_ms;
    for (;;) {
        if (c->hung_up || aqd_reader_ready(&c->reader)) {
            return AQD_OK;
        }
        if (!aqd_reader_prepare_sleep(&c->reader, AQD_WAITING_SOCKET, NULL)) {
            return AQD_OK;
        }
        struct pollfd on = {.fd = c->fd, .events = POLLIN | POLLRDHUP};
        int ready = poll(&on, 1, aqd_poll_ms(deadline_ms, SLEEP_SLICE_MS));
        int why = errno;
        aqd_reader_finish_sleep(&c->reader, ready == 0);
        if (ready > 0) {
            drain(c);
        } else if (ready < 0) {
            return why == EINTR ? AQD_EMPTY : AQD_ERR_SYSTEM;
        }
        if (!c->hung_up && !aqd_reader_ready(&c->reader) && deadline_ms >= 0 && aqd_now_ms() >= deadline_ms) {
            return AQD_EMPTY;
        }
    }
}

void aqd_detach(aqd_client *c)
{
    if (c->cursor) {
        munmap(c->cursor, c->cursor_bytes);
        c->cursor = NULL;
    }
    if (c->ring) {
        munmap(c->ring, c->ring_bytes);
        c->ring = NULL;
    }
    if (c->fd >= 0) {
        close(c->fd);
        c->fd = -1;
    }
}

void aqd_close(aqd_client *c)
{
    if (c) {
        aqd_detach(c);
        free(c);
    }
}

int aqd_fd(const aqd_client *c) { return c->fd; }

const aqd_ring_info *aqd_info(const aqd_client *c) { return aqd_reader_info(&c->reader); }

const aqd_stats *aqd_get_stats(const aqd_client *c) { return aqd_reader_stats(&c->reader); }

const aqd_evidence *aqd_get_evidence(const aqd_client *c) { return aqd_reader_evidence(&c->reader); }

const char *aqd_message(const aqd_client *c) { return c ? c->message : ""; }

uint32_t aqd_refusal(const aqd_client *c) { return c ? c->refusal : 0; }

const char *aqd_strerror(aqd_status status)
{
    switch (status) {
    case AQD_OK: return "no error";
    case AQD_EMPTY: return "no record now";
    case AQD_CLOSED: return "the ring was closed";
    case AQD_LOST: return "the listener died without closing the ring";
    case AQD_INTERRUPTED: return "interrupted";
    case AQD_EPOCH_CHANGED: return "reconnected to another ring";
    case AQD_AHEAD: return "the number sought is not published yet";
    case AQD_ERR_HEADER: return "a damaged stretch was skipped";
    case AQD_ERR_PAYLOAD: return "a record with a damaged payload was skipped";
    case AQD_ERR_GAP: return "records are missing: the sequence numbers jump";
    case AQD_ERR_SPACE: return "the record is larger than the buffer";
    case AQD_ERR_OVERRUN: return "the ring has moved on beyond this reader";
    case AQD_ERR_OVERTAKEN: return "records were overwritten before they were read";
    case AQD_ERR_GONE: return "the number sought is no longer there";
    case AQD_ERR_EPOCH: return "the number sought belongs to another ring";
    case AQD_ERR_ARGUMENT: return "a null or misaligned pointer, or a name or path that is too long";
    case AQD_ERR_MAGIC: return "not a ring";
    case AQD_ERR_VERSION: return "another major version of the ABI";
    case AQD_ERR_CHECKSUM: return "the ring header is damaged";
    case AQD_ERR_GEOMETRY: return "the ring header makes no sense";
    case AQD_ERR_SIZE: return "a segment is too short";
    case AQD_ERR_CURSOR: return "the cursor segment is damaged or belongs to another ring";
    case AQD_ERR_SYSTEM: return "a system call failed";
    case AQD_ERR_TIMEOUT: return "the listener did not answer in time";
    case AQD_ERR_HANGUP: return "the listener hung up during the handshake";
    case AQD_ERR_PROTOCOL: return "the listener's answer is not a welcome with its descriptors";
    case AQD_ERR_REFUSED: return "the listener refused";
    case AQD_ERR_NOT_SEALED: return "a segment is not sealed against shrinking";
    case AQD_ERR_MEMORY: return "out of memory";
    case AQD_ERR_MODE: return "not possible for an observer";
    }
    return "unknown status";
}
