/* Ending a sleep that was announced. */
#ifndef AQUEDUCT_LINUX_WAIT_H
#define AQUEDUCT_LINUX_WAIT_H

#include "client.h"

/* Ends what aqd_arm began, if anything, and takes from the descriptors whatever ended the sleep. */
AQD_INTERNAL void aqd_settle(aqd_client *c);

#endif
