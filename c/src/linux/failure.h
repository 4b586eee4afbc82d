/* What aqd_message and aqd_errno report. */
#ifndef AQUEDUCT_LINUX_FAILURE_H
#define AQUEDUCT_LINUX_FAILURE_H

#include "client.h"

/* Notes why the client failed, in words; returns status. */
__attribute__((format(printf, 3, 4))) AQD_INTERNAL aqd_status aqd_fail(aqd_client *c, aqd_status status, const char *format, ...);

/* The same for a system call that failed with this errno; returns AQD_ERR_SYSTEM. */
AQD_INTERNAL aqd_status aqd_fail_errno(aqd_client *c, const char *call, int why);

/* Forgets the failure of an attempt before. */
AQD_INTERNAL void aqd_clear_failure(aqd_client *c);

#endif
