/* Contracts: failure.h. */
#include "../compiler.h"

#include "failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

aqd_status aqd_fail(aqd_client *c, aqd_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->message, sizeof c->message, format, args);
    va_end(args);
    c->error_number = 0;
    return status;
}

aqd_status aqd_fail_errno(aqd_client *c, const char *call, int why)
{
    aqd_fail(c, AQD_ERR_SYSTEM, "%s: %s", call, strerror(why));
    c->error_number = why;
    return AQD_ERR_SYSTEM;
}

void aqd_clear_failure(aqd_client *c)
{
    c->message[0] = '\0';
    c->error_number = 0;
}
