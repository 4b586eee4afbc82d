/* What a client knows. Contracts: aqueduct/client.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <time.h>

#include "client.h"

int aqd_fd(const aqd_client *c) { return c->set_fd; }

const aqd_ring_info *aqd_info(const aqd_client *c) { return aqd_ring_of(c); }

const aqd_stats *aqd_get_stats(const aqd_client *c)
{
    return c->observing ? aqd_observer_stats(&c->observer) : aqd_reader_stats(&c->reader);
}

const aqd_evidence *aqd_get_evidence(const aqd_client *c)
{
    return c->observing ? aqd_observer_evidence(&c->observer) : aqd_reader_evidence(&c->reader);
}

aqd_status aqd_get_lag(const aqd_client *c, aqd_lag *lag)
{
    uint32_t clock_id = aqd_info(c)->clock_id;
    struct timespec now = {0};
    if (clock_id == AQD_CLOCK_REALTIME || clock_id == AQD_CLOCK_MONOTONIC) {
        clock_gettime(clock_id == AQD_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    }
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    return c->observing ? aqd_observer_lag(&c->observer, now_ns, lag) : aqd_reader_lag(&c->reader, now_ns, lag);
}

const aqd_totals *aqd_get_totals(const aqd_client *c) { return &c->totals; }

const aqd_change *aqd_get_change(const aqd_client *c) { return &c->change; }

int aqd_is_attached(const aqd_client *c) { return c->phase == AQD_PHASE_ATTACHED && !c->hung_up; }

const char *aqd_message(const aqd_client *c) { return c ? c->message : ""; }

int aqd_errno(const aqd_client *c) { return c ? c->error_number : 0; }

uint32_t aqd_refusal(const aqd_client *c) { return c ? c->refusal : 0; }
