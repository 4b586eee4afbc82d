/* How far behind, for readers and observers: looks, changes nothing. Contracts: reader.h,
 * observer.h. */
#include "compiler.h"

#include "aqueduct/observer.h"
#include "contracts.h"
#include "lag.h"
#include "record.h"

bool aqd_first_data(const struct aqd_ring_view *v, uint64_t position, uint64_t tail, aqd_record *rec)
{
    /* Each round goes at least a granule on. */
    /*@ loop invariant aqd_distance(at, tail) <= v->capacity;
        loop assigns at;
        loop variant aqd_distance(at, tail); */
    for (uint64_t at = position; at != tail;) {
        struct aqd_header h;
        if (!aqd_load_valid(v, at, tail, &h)) {
            return false;
        }
        if (aqd_is_data(&h)) {
            aqd_describe(rec, &h);
            return true;
        }
        at += h.granules;
    }
    return false;
}

/* From position, from which on it is whole; the tail is at most the capacity ahead. */
/*@ requires \valid_read(v) && aqd_holds(v);
    requires aqd_distance(position, tail) <= v->capacity && (expected_seq == \null || \valid_read(expected_seq)) && \valid(lag);
    requires \separated(lag, v, expected_seq);
    assigns *lag; exits \false; */
static void measure_lag(const struct aqd_ring_view *v, uint64_t position, uint64_t tail, const uint64_t *expected_seq,
                    uint64_t now_ns, aqd_lag *lag)
{
    /* ORDER(none): a measure. The Acquire of the tail makes it at least that tail's number. */
    uint32_t next_seq = aqd_load_relaxed(v->ring + AQD_RING_NEXT_SEQ);
    aqd_record first = {.len = 0};
    bool found = aqd_first_data(v, position, tail, &first);
    *lag = (aqd_lag){.bytes = (tail - position) * AQD_GRANULE_BYTES};
    if (found && now_ns > first.timestamp_ns) {
        lag->age_ns = now_ns - first.timestamp_ns;
    }
    if (expected_seq) {
        lag->records = next_seq - (uint32_t)*expected_seq;
    } else if (found) {
        lag->records = next_seq - (uint32_t)first.seq;
    }
}

/*@ requires aqd_sound(r) && \valid(lag) && \separated(r, lag);
    assigns *lag; exits \false; */
aqd_status aqd_reader_measure_lag(const aqd_reader *r, uint64_t now_ns, aqd_lag *lag)
{
    /* ORDER(publish): Acquire. The headers before this tail are seen. Pairs with the producer's
     * store-release of `tail`. */
    uint32_t distance = aqd_load_acquire(r->view.ring + AQD_RING_TAIL) - (uint32_t)r->position;
    if (distance > r->view.capacity) {
        *lag = (aqd_lag){0};
        return AQD_ERR_TAIL;
    }
    measure_lag(&r->view, r->position, r->position + distance, r->seq_known ? &r->expected_seq : NULL, now_ns, lag);
    return AQD_OK;
}

/*@ requires aqd_watching(o) && \valid(lag) && \separated(o, lag);
    assigns *lag; exits \false; */
aqd_status aqd_observer_measure_lag(const aqd_observer *o, uint64_t now_ns, aqd_lag *lag)
{
    /* ORDER(oldest): Acquire. The tail loaded next is not before it. Pairs with the producer's
     * store-release of `oldest`. */
    uint32_t oldest = aqd_load_acquire(o->view.ring + AQD_RING_OLDEST);
    /* ORDER(publish): Acquire, as above. */
    uint32_t tail = aqd_load_acquire(o->view.ring + AQD_RING_TAIL);
    uint64_t from = aqd_is_before(o->position, oldest) ? oldest : (uint32_t)o->position;
    uint32_t distance = tail - (uint32_t)from;
    if (distance > o->view.capacity) {
        distance = o->view.capacity; /* overrun while we looked: at least that much */
        from = tail - distance;
    }
    measure_lag(&o->view, from, from + distance, o->seq_known ? &o->expected_seq : NULL, now_ns, lag);
    return AQD_OK;
}
