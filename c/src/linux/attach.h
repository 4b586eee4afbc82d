/* The handshake and the mappings: from a socket to a reader. ABI 6.2. */
#ifndef AQUEDUCT_LINUX_ATTACH_H
#define AQUEDUCT_LINUX_ATTACH_H

#include "client.h"

/* A deadline_ms of 0 is in the past: do what can be done without waiting; negative: none. */

/* Connects and says HELLO. */
AQD_INTERNAL aqd_status aqd_attach_begin(aqd_client *c, int64_t deadline_ms);

/* Hears WELCOME, maps into c->segments and makes the reader or observer. */
AQD_INTERNAL aqd_status aqd_attach_finish(aqd_client *c, int64_t deadline_ms);

/* The same from descriptors that came another way and stay the caller's. */
AQD_INTERNAL aqd_status aqd_attach_fds(aqd_client *c, int ring_fd, int cursor_fd);

/* Whether a listener that comes, or comes again, or the reader that holds the subscription can cure
 * this failure by itself. */
AQD_INTERNAL bool aqd_is_curable(const aqd_client *c, aqd_status status);

/* Unmaps what is mapped; again does nothing. */
AQD_INTERNAL void aqd_unmap(struct aqd_segments *segments);

#endif
