/* Going on after the listener's end. */
#ifndef AQUEDUCT_LINUX_RECONNECT_H
#define AQUEDUCT_LINUX_RECONNECT_H

#include "client.h"

typedef enum aqd_outcome { AQD_STILL_DOWN, AQD_ATTACHED_AGAIN, AQD_GIVEN_UP } aqd_outcome;

/* Makes one step, without waiting. end: how the ring that was attached ended. */
AQD_INTERNAL aqd_outcome aqd_reconnect(aqd_client *c, aqd_status end);

/* Counts an attachment; the first one leads to the place where reading starts. */
AQD_INTERNAL void aqd_count_attachment(aqd_client *c);

/* How long until the next step is worth taking. */
AQD_INTERNAL int aqd_reconnect_ms(const aqd_client *c);

#endif
