/* The state of a Linux client, which the files of this directory share. Each includes those before
 * it only: clock, failure, connection, attach (the handshake), reconnect, wait, client (reading),
 * open, info. */
#ifndef AQUEDUCT_LINUX_CLIENT_H
#define AQUEDUCT_LINUX_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "aqueduct/client.h"

#include "../compiler.h"

/* Down: not attached, the next attempt is at next_dial_ms. Greeted: the HELLO is sent, the WELCOME
 * awaited until greeted_until_ms. Transitions: attached -> down (an end, and reconnecting is
 * wanted) -> greeted -> attached or down; down -> over. A client that was opened without blocking
 * begins down, and has no reader until totals.attachments counts one. */
enum aqd_phase { AQD_PHASE_ATTACHED, AQD_PHASE_DOWN, AQD_PHASE_GREETED, AQD_PHASE_OVER };

struct aqd_segments {
    void *ring;   /* INVARIANT: NULL or a mapping of ring_bytes */
    void *cursor; /* INVARIANT: NULL or a mapping of cursor_bytes */
    size_t ring_bytes;
    size_t cursor_bytes;
};

struct aqd_client {
    aqd_reader reader;     /* INVARIANT: initialised if and only if attachments > 0 and !observing; reads segments */
    aqd_observer observer; /* INVARIANT: the same if observing */
    struct aqd_segments segments;
    struct aqd_segments retired; /* of the ring before, for views that are not released */
    int stop_fd;                 /* -1 or the caller's, while aqd_open_with waits */
    int fd;                      /* INVARIANT: -1 or the control socket, which is in the epoll set unless it is not connected yet */
    int wake_fd;                 /* INVARIANT: -1 or an eventfd, in the set; readable after an interrupt */
    int interrupted;             /* INVARIANT: accessed by atomics only; 1: an interrupt is not taken yet */
    int timer_fd;                /* INVARIANT: -1 or a timerfd, in the set; made by the first aqd_arm that asks for it */
    int timer_ms;                /* its period; 0: it does not run */
    int set_fd;                  /* INVARIANT: -1 or an epoll descriptor */
    pid_t owner;                 /* who opened: only this process ends the connection */
    bool observing;
    bool controlled; /* there is a listener on a socket, or was */
    bool hung_up;    /* the connection has ended */
    bool attention;  /* armed, changed or never attached: look before reading */
    bool armed;
    bool changed; /* AQD_EPOCH_CHANGED is to be reported */
    bool standby; /* a busy subscription is waited for */
    enum aqd_phase phase;
    aqd_start start; /* of the first attachment */
    aqd_status end;  /* INVARIANT: how the old ring ended, or why opening failed, unless attached */
    int look_ms;    /* how long a sleep without wake-ups lasts */
    int timeout_ms, reconnect_ms, backoff_min_ms, backoff_max_ms;
    int open_retry_ms;
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

/* What is fixed in the ring that the client is attached to, or was last. */
static inline const aqd_ring_info *aqd_ring_of(const aqd_client *c) { return c->observing ? &c->observer.info : &c->reader.info; }

/* Whether the client has, or had, a ring. */
static inline bool aqd_was_attached(const aqd_client *c) { return c->totals.attachments > 0; }

#endif
