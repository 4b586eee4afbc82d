/* The reader's one look at the shared tail. Shared by reader.c, reader_init.c and
 * reader_sleep.c. */
#ifndef AQUEDUCT_READER_TAIL_H
#define AQUEDUCT_READER_TAIL_H

#include "contracts.h"
#include "load.h"

/* Adopts the shared tail; false if it is further than the ring is long, and nothing is adopted. */
/*@ requires aqd_sound(r);
    assigns r->tail, r->evidence; exits \false;
    ensures aqd_sound(r);
    ensures !\result ==> r->tail == \old(r->tail); */
static inline bool aqd_reader_refresh(aqd_reader *r)
{
    /* ORDER(publish): Acquire. The bytes before this tail are seen. Pairs with the producer's
     * store-release of `tail`. */
    uint32_t shared = aqd_load_acquire(r->view.ring + AQD_RING_TAIL);
    uint32_t distance = shared - (uint32_t)r->position;
    if (AQD_UNLIKELY(distance > r->view.capacity)) {
        r->evidence = (aqd_evidence){.position = r->position, .resumed = r->position, .tail = shared};
        return false;
    }
    r->tail = r->position + distance;
    return true;
}

#endif
