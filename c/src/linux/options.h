/* Reading and checking aqd_options. */
#ifndef AQUEDUCT_LINUX_OPTIONS_H
#define AQUEDUCT_LINUX_OPTIONS_H

#include "client.h"

/* Copies the options as this library knows them to *into and sets the client up by them. AQD_OK;
 * AQD_ERR_ARGUMENT: the message names the field and its value. */
AQD_INTERNAL aqd_status aqd_take_options(aqd_client *c, const aqd_options *from, aqd_options *into);

#endif
