/* What the calls of an observer are made of: finding the next record, and what happens when the
 * producer overruns it. Between observer_find.c and observer.c. */
#ifndef AQUEDUCT_OBSERVER_FIND_H
#define AQUEDUCT_OBSERVER_FIND_H

#include "contracts.h"
#include "load.h"
#include "record.h"

/* How often one call goes on after being overrun before it says so. */
#define AQD_OVERRUNS_PER_CALL 8u

/* What one call may still spend. */
struct aqd_effort {
    uint64_t headers; /* to load */
    uint32_t overruns;
};

/*@ requires aqd_watching(o);
    assigns \nothing; exits \false;
    ensures \result.headers == 32 * o->view.capacity && \result.overruns == AQD_OVERRUNS_PER_CALL; */
static inline struct aqd_effort aqd_observer_new_effort(const aqd_observer *o)
{
    return (struct aqd_effort){.headers = 32 * (uint64_t)o->view.capacity, .overruns = AQD_OVERRUNS_PER_CALL};
}

/*@ requires \valid(o);
    assigns o->stats; exits \false; */
static inline void aqd_observer_count(aqd_observer *o, uint32_t corrupt, uint32_t lost)
{
    o->stats.corrupt += corrupt;
    o->stats.lost += lost;
}

/* Whether what was just copied from position on was whole after the copy. */
/*@ requires aqd_watching(o);
    assigns \nothing; exits \false; */
static inline bool aqd_observer_was_whole(const aqd_observer *o, uint64_t position)
{
    /* ORDER(oldest): Acquire fence. If the copy holds a byte of a later record, the load below sees
     * the `oldest` stored before that byte. Pairs with the release fence of ABI 4.1.2. */
    aqd_fence_acquire();
    /* ORDER(oldest): Relaxed; the fence orders it. */
    return !aqd_is_before(position, aqd_load_relaxed(o->view.ring + AQD_RING_OLDEST));
}

/* Overrun, and not yet known by how much. */
/*@ requires aqd_watching(o);
    assigns o->overrun, o->evidence; exits \false;
    ensures aqd_watching(o) && \result != AQD_OK; */
AQD_INTERNAL aqd_status aqd_observer_overrun(aqd_observer *o);

/* Stands at the oldest whole record, with a tail that was current then. */
/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->overrun, o->evidence; exits \false;
    ensures aqd_watching(o); */
AQD_INTERNAL aqd_status aqd_observer_go_to_oldest(aqd_observer *o);

/* Goes on at the oldest record after being overrun, a bounded number of times. */
/*@ requires aqd_watching(o) && \valid(left) && \separated(o, left);
    assigns o->position, o->tail, o->overrun, o->evidence, left->overruns; exits \false;
    ensures aqd_watching(o);
    ensures left->overruns <= \old(left->overruns) && (\result == AQD_OK ==> left->overruns < \old(left->overruns)); */
AQD_INTERNAL aqd_status aqd_observer_fall_back(aqd_observer *o, struct aqd_effort *left);

/* AQD_OK: the record at o->position is DATA, its header *h valid and whole. Each round spends one
 * header, and so does each call. */
/*@ requires aqd_watching(o) && \valid(h) && \valid(left) && \separated(o, h, left);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *h, *left; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> aqd_fits_in(h, o->view.capacity, o->position, o->tail) && h->len <= o->view.max_payload;
    ensures left->overruns <= \old(left->overruns);
    ensures \old(left->headers) > 0 ==> left->headers < \old(left->headers); */
AQD_INTERNAL aqd_status aqd_observer_find(aqd_observer *o, struct aqd_header *h, struct aqd_effort *left);

#endif
