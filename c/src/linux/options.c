/* Contracts: options.h. */
#include "../compiler.h"

#include "options.h"

#include <string.h>
#include <sys/socket.h>

#include "failure.h"

#define TIMEOUT_MS 5000
#define BACKOFF_MIN_MS 20
#define BACKOFF_MAX_MS 2000

/* No version ends in padding: a field in its place would find what happened to be there. */
_Static_assert(offsetof(aqd_options, standby) + sizeof(int32_t) == sizeof(aqd_options), "aqd_options has no padding at its end");
#define OPTIONS_BYTES_1 offsetof(aqd_options, open_retry_ms)
#define OPTIONS_BYTES_2 offsetof(aqd_options, nonblocking)

/* The structure of the program's version: what an earlier one lacks is 0, what a later one adds
 * must be. */
static aqd_status copy_options(aqd_client *c, const aqd_options *from, aqd_options *into)
{
    const unsigned char *bytes = (const unsigned char *)from;
    if (!from) {
        return aqd_fail(c, AQD_ERR_ARGUMENT, "options is NULL");
    }
    if (from->size < sizeof *into && from->size != OPTIONS_BYTES_1 && from->size != OPTIONS_BYTES_2) {
        return aqd_fail(c, AQD_ERR_ARGUMENT, "options.size is %zu; set it to sizeof(aqd_options), %zu here", from->size, sizeof *into);
    }
    for (size_t i = sizeof *into; i < from->size; i++) {
        if (bytes[i] != 0) {
            return aqd_fail(c, AQD_ERR_ARGUMENT, "options.size is %zu and byte %zu is set; libaqueduct %s knows %zu bytes", from->size, i,
                            AQD_VERSION, sizeof *into);
        }
    }
    *into = (aqd_options){0};
    memcpy(into, from, from->size < sizeof *into ? from->size : sizeof *into);
    return AQD_OK;
}

static aqd_status copy_name(aqd_client *c, const char *field, const char *from, char *into, size_t max)
{
    size_t len = from ? strlen(from) : 0;
    if (len > max) {
        return aqd_fail(c, AQD_ERR_ARGUMENT, "%s has %zu bytes; it may have %zu", field, len, max);
    }
    memcpy(into, from ? from : "", len + 1);
    return AQD_OK;
}

static aqd_status copy_names(aqd_client *c, const aqd_options *o)
{
    if (!o->path || o->path[0] == '\0') {
        return aqd_fail(c, AQD_ERR_ARGUMENT, "path is %s", o->path ? "empty" : "NULL");
    }
    c->address.sun_family = AF_UNIX;
    aqd_status status = copy_name(c, "path", o->path, c->address.sun_path, sizeof c->address.sun_path - 1);
    if (status == AQD_OK) {
        status = copy_name(c, "ring", o->ring, c->ring_name, AQD_RING_NAME_BYTES);
    }
    if (status == AQD_OK && !o->observe) {
        status = copy_name(c, "subscription", o->subscription, c->subscription, AQD_SUBSCRIPTION_NAME_BYTES);
    }
    return status;
}

static aqd_status check_numbers(aqd_client *c, const aqd_options *o)
{
    const struct {
        const char *field;
        int value, least;
    } numbers[] = {
        {"timeout_ms", o->timeout_ms, -1},        {"reconnect_ms", o->reconnect_ms, -1},   {"backoff_min_ms", o->backoff_min_ms, 0},
        {"backoff_max_ms", o->backoff_max_ms, 0}, {"open_retry_ms", o->open_retry_ms, -1}, {"stop_fd", o->stop_fd, -1},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].value < numbers[i].least) {
            return aqd_fail(c, AQD_ERR_ARGUMENT, "%s is %d; the least is %d", numbers[i].field, numbers[i].value, numbers[i].least);
        }
    }
    if (o->start != AQD_START_HERE && o->start != AQD_START_OLDEST && o->start != AQD_START_LATEST) {
        return aqd_fail(c, AQD_ERR_ARGUMENT, "start is %d; it is one of AQD_START_HERE, _OLDEST and _LATEST", (int)o->start);
    }
    return AQD_OK;
}

aqd_status aqd_take_options(aqd_client *c, const aqd_options *from, aqd_options *into)
{
    aqd_status status = copy_options(c, from, into);
    if (status == AQD_OK) {
        status = copy_names(c, into);
    }
    if (status == AQD_OK) {
        status = check_numbers(c, into);
    }
    if (status != AQD_OK) {
        return status;
    }
    c->controlled = true;
    c->observing = into->observe != 0;
    c->standby = into->standby != 0;
    c->start = into->start;
    c->kind = c->observing                     ? AQD_HELLO_OBSERVE
              : c->start == AQD_START_OLDEST   ? AQD_HELLO_ATTACH_OLDEST
              : c->start == AQD_START_LATEST   ? AQD_HELLO_ATTACH_LATEST
                                               : AQD_HELLO_ATTACH;
    c->timeout_ms = into->timeout_ms > 0 ? into->timeout_ms : TIMEOUT_MS;
    c->reconnect_ms = into->reconnect_ms;
    c->open_retry_ms = into->open_retry_ms;
    c->backoff_min_ms = into->backoff_min_ms ? into->backoff_min_ms : BACKOFF_MIN_MS;
    c->backoff_max_ms = into->backoff_max_ms ? into->backoff_max_ms : BACKOFF_MAX_MS;
    c->backoff_max_ms = c->backoff_max_ms < c->backoff_min_ms ? c->backoff_min_ms : c->backoff_max_ms;
    c->backoff_ms = c->backoff_min_ms;
    return AQD_OK;
}
