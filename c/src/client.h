/* What the parts of the Linux client share: open.c makes a client, attach.c does the handshake,
 * client.c reads, wait.c sleeps, reconnect.c goes on after the listener's end. */
#ifndef AQUEDUCT_CLIENT_PRIVATE_H
#define AQUEDUCT_CLIENT_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "aqueduct/client.h"

/* Every sleep has a timeout, so that a wake-up lost by whoever's fault costs no more than this. */
#define AQD_SLEEP_SLICE_MS 500

/* Down: nobody listens, the next attempt is at next_dial_ms. Greeted: the HELLO is sent, the
 * WELCOME awaited until greeted_until_ms. Transitions: attached -> down (an end, and reconnecting
 * is wanted) -> greeted -> attached or down; down -> over. */
enum aqd_phase { AQD_PHASE_ATTACHED, AQD_PHASE_DOWN, AQD_PHASE_GREETED, AQD_PHASE_OVER };

struct aqd_segments {
    void *ring;   /* INVARIANT: NULL or a mapping of ring_bytes */
    void *cursor; /* INVARIANT: NULL or a mapping of cursor_bytes */
    size_t ring_bytes;
    size_t cursor_bytes;
};

struct aqd_client {
    aqd_reader reader;     /* INVARIANT: initialised if and only if opening succeeded and !observing; reads segments */
    aqd_observer observer; /* INVARIANT: the same if observing */
    struct aqd_segments segments;
    struct aqd_segments retired; /* of the ring before, for views that are not released */
    int stop_fd;                 /* -1 or the caller's, while aqd_open_with waits */
    int fd;                      /* INVARIANT: -1 or the control socket, which is in the epoll set unless it is not connected yet */
    int wake_fd;                 /* INVARIANT: -1 or an eventfd, in the set; its count is the interrupt not taken yet */
    int set_fd;                  /* INVARIANT: -1 or an epoll descriptor */
    pid_t owner;                 /* who opened: only this process ends the connection */
    bool observing;
    bool controlled; /* there is a listener on a socket, or was */
    bool hung_up;    /* the connection has ended */
    bool attention;  /* armed or changed: look before reading */
    bool armed;
    bool changed; /* AQD_EPOCH_CHANGED is to be told */
    enum aqd_phase phase;
    aqd_status end; /* INVARIANT: how the old ring ended, unless attached */
    int look_ms;    /* how long a sleep without wake-ups lasts */
    int timeout_ms, reconnect_ms, backoff_min_ms, backoff_max_ms;
    int backoff_ms;
    int64_t ended_ms, next_dial_ms, greeted_until_ms; /* by aqd_now_ms */
    bool resumed;            /* the last attachment was to the ring before */
    uint64_t records_before; /* read and skipped up to the last attachment: whether it was of any use */
    uint32_t empty_calls;    /* for a look at the socket now and then */
    uint32_t refusal;
    uint32_t kind; /* of the HELLO */
    int error_number; /* INVARIANT: errno of the failure that message is about, 0 if it was no system call's or there is none */
    struct sockaddr_un address;
    char ring_name[AQD_RING_NAME_BYTES + 1];
    char subscription[AQD_SUBSCRIPTION_NAME_BYTES + 1];
    aqd_totals totals;
    aqd_change change;
    char message[160];
};

/* attach.c. A deadline_ms of 0 is in the past: do what can be done without waiting; negative:
 * none. */
aqd_status aqd_attach_begin(aqd_client *c, int64_t deadline_ms);  /* connects, says HELLO; the socket is in the set then */
aqd_status aqd_attach_finish(aqd_client *c, int64_t deadline_ms); /* hears WELCOME, maps into segments, makes the reader */
aqd_status aqd_attach_fds(aqd_client *c, int ring_fd, int cursor_fd);
aqd_status aqd_fail_errno(aqd_client *c, const char *call);
aqd_status aqd_watch(aqd_client *c, int fd, uint32_t events);

/* open.c */
void aqd_unmap(struct aqd_segments *segments); /* again does nothing */
void aqd_disconnect(aqd_client *c);            /* ends the connection, if there is one */
void aqd_detach(aqd_client *c);                /* gives everything back but the memory of *c; again does nothing */

/* wait.c */
int64_t aqd_now_ms(void);                            /* of CLOCK_MONOTONIC */
int aqd_poll_ms(int64_t deadline_ms, int slice_ms);  /* how long poll may still sleep: 0..slice_ms; deadline_ms < 0: no deadline */
/* AQD_OK: fd (-1: none) is readable; AQD_INTERRUPTED: stop_fd is; AQD_EMPTY: the deadline is over,
 * or a while, or a handler ran. */
aqd_status aqd_sleep_on(aqd_client *c, int fd, int64_t deadline_ms);
void aqd_drain(aqd_client *c);                       /* takes what lies in the socket; sets hung_up */
void aqd_settle(aqd_client *c, bool timed_out);      /* ends what aqd_arm began */

/* reconnect.c */
typedef enum aqd_outcome { AQD_STILL_DOWN, AQD_ATTACHED_AGAIN, AQD_GIVEN_UP } aqd_outcome;
aqd_outcome aqd_reconnect(aqd_client *c, aqd_status end); /* one step, without waiting; end: how the ring that was attached ended */
int aqd_reconnect_ms(const aqd_client *c);                /* until the next step is worth its while */

#endif
