/* Ending a sleep that aqd_arm announced. */
#ifndef AQUEDUCT_LINUX_WAIT_H
#define AQUEDUCT_LINUX_WAIT_H

#include "client.h"

/* Ends what aqd_arm began, if anything. timed_out: nothing but the timeout ended the sleep. */
AQD_INTERNAL void aqd_settle(aqd_client *c, bool timed_out);

#endif
