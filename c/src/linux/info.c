/* What a client knows. Contracts: aqueduct/client.h. */
#include "../compiler.h"

#include <time.h>

#include "client.h"

int aqd_fd(const aqd_client *c) { return c->set_fd; }

const aqd_ring_info *aqd_get_info(const aqd_client *c) { return aqd_ring_of(c); }

const aqd_stats *aqd_get_stats(const aqd_client *c)
{
    return c->observing ? aqd_observer_get_stats(&c->observer) : aqd_reader_get_stats(&c->reader);
}

const aqd_evidence *aqd_get_evidence(const aqd_client *c)
{
    return c->observing ? aqd_observer_get_evidence(&c->observer) : aqd_reader_get_evidence(&c->reader);
}

aqd_status aqd_measure_lag(const aqd_client *c, aqd_lag *lag)
{
    if (!aqd_was_attached(c)) {
        *lag = (aqd_lag){0};
        return AQD_EMPTY;
    }
    uint32_t clock_id = aqd_get_info(c)->clock_id;
    struct timespec now = {0};
    if (clock_id == AQD_CLOCK_REALTIME || clock_id == AQD_CLOCK_MONOTONIC) {
        clock_gettime(clock_id == AQD_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    }
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    return c->observing ? aqd_observer_measure_lag(&c->observer, now_ns, lag) : aqd_reader_measure_lag(&c->reader, now_ns, lag);
}

const aqd_totals *aqd_get_totals(const aqd_client *c) { return &c->totals; }

const aqd_change *aqd_get_change(const aqd_client *c) { return &c->change; }

int aqd_is_attached(const aqd_client *c) { return c->phase == AQD_PHASE_ATTACHED && !c->hung_up; }

const char *aqd_message(const aqd_client *c) { return c ? c->message : "there is no client: no memory, or nowhere to put it"; }

int aqd_errno(const aqd_client *c) { return c ? c->error_number : 0; }

uint32_t aqd_refusal(const aqd_client *c) { return c ? c->refusal : 0; }

uint64_t aqd_epoch(const aqd_client *c) { return aqd_ring_of(c)->epoch; }

uint32_t aqd_max_payload(const aqd_client *c) { return aqd_ring_of(c)->max_payload; }

const char *aqd_ring_name(const aqd_client *c) { return aqd_ring_of(c)->name; }

uint32_t aqd_corrupt(const aqd_client *c) { return aqd_get_stats(c)->corrupt; }

uint32_t aqd_lost(const aqd_client *c) { return aqd_get_stats(c)->lost; }
