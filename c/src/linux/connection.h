/* The control socket: connecting, packets with descriptors, wake-ups, the end. ABI 6.2, 6.3. */
#ifndef AQUEDUCT_LINUX_CONNECTION_H
#define AQUEDUCT_LINUX_CONNECTION_H

#include "client.h"

/* Room for as many descriptors as one packet can carry (the kernel's SCM_MAX_FD), so that a surplus
 * is received and closed. */
#define AQD_FDS_MAX 253

/* What one packet brought. */
struct aqd_packet {
    size_t len;                /* bytes */
    bool cut;                  /* it was longer than there was room */
    int fds[AQD_FDS_MAX];      /* the first n_fds are the caller's to close */
    size_t n_fds;
};

/* Adds a descriptor to the client's epoll set. */
AQD_INTERNAL aqd_status aqd_watch(aqd_client *c, int fd, uint32_t events);

/* Waits a while for fd (-1: none) to become readable. AQD_OK: it is; AQD_INTERRUPTED: stop_fd is;
 * AQD_EMPTY: the deadline is over, or a while, or a signal handler ran. */
AQD_INTERNAL aqd_status aqd_sleep_on(aqd_client *c, int fd, int64_t deadline_ms);

/* Connects to c->address and adds the socket to the set. */
AQD_INTERNAL aqd_status aqd_dial(aqd_client *c, int64_t deadline_ms);

/* Sends one packet. AQD_OK also if the listener has gone: it may have answered before. */
AQD_INTERNAL aqd_status aqd_send_packet(aqd_client *c, const void *bytes, size_t len);

/* Receives one packet of at most cap bytes before the deadline; one in the past: only what is
 * there. *into is filled in whatever the answer. */
AQD_INTERNAL aqd_status aqd_receive(aqd_client *c, void *bytes, size_t cap, int64_t deadline_ms, struct aqd_packet *into);

/* AQD_ERR_TIMEOUT with its message. */
AQD_INTERNAL aqd_status aqd_fail_timeout(aqd_client *c);

/* Takes the wake-ups that lie in the socket; sets hung_up if the connection has ended. True if
 * there was either. */
AQD_INTERNAL bool aqd_drain(aqd_client *c);

/* Tells the producer that there is space again. */
AQD_INTERNAL void aqd_tell_space(aqd_client *c);

/* Ends the connection, if there is one. */
AQD_INTERNAL void aqd_disconnect(aqd_client *c);

#endif
