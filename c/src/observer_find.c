/* Finding the next record as an observer, ABI 4.3. Contracts: observer_find.h. Shared bytes only
 * through load.h.
 *
 * As reader.c with one rule more: what was copied counts only if `oldest`, loaded after the copy,
 * is not past it. If it is, reading goes on at `oldest`, and the next record's sequence number
 * tells what was missed. */
#include "compiler.h"

#include "observer_find.h"

AQD_COLD aqd_status aqd_observer_overrun(aqd_observer *o)
{
    o->overrun = true;
    o->evidence = (aqd_evidence){
        .position = o->position, .resumed = o->position, .expected_seq = o->expected_seq, .found_seq = o->expected_seq, .tail = o->tail};
    return AQD_ERR_OVERRUN;
}

AQD_COLD aqd_status aqd_observer_go_to_oldest(aqd_observer *o)
{
    uint32_t oldest = 0, tail = 0, first = 0;
    /* The producer moves both words while we load them; a pair that fits comes soon, or the
     * producer is too fast or broken. */
    /*@ loop invariant attempt <= AQD_OVERRUNS_PER_CALL;
        loop assigns attempt, oldest, tail, first;
        loop variant AQD_OVERRUNS_PER_CALL - attempt; */
    for (uint32_t attempt = 0; attempt < AQD_OVERRUNS_PER_CALL; attempt++) {
        /* ORDER(oldest): Acquire. The tail loaded next is not before it. Pairs with the producer's
         * store-release of `oldest`. */
        oldest = aqd_load_acquire(o->view.ring + AQD_RING_OLDEST);
        /* ORDER(publish): Acquire. The bytes before this tail are seen. Pairs with the producer's
         * store-release of `tail`. */
        tail = aqd_load_acquire(o->view.ring + AQD_RING_TAIL);
        if (tail - oldest <= o->view.capacity) {
            /* Nobody compares an observer's positions of before and after, so they need not count
             * laps. */
            o->position = oldest;
            o->tail = o->position + (tail - oldest);
            return AQD_OK;
        }
        first = attempt == 0 ? oldest : first;
    }
    if (oldest != first) {
        return aqd_observer_overrun(o);
    }
    o->evidence = (aqd_evidence){.position = oldest, .resumed = o->position, .tail = tail};
    return AQD_ERR_TAIL;
}

/* Adopts the shared tail, or goes on at the oldest record if the tail has run away. */
/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->overrun, o->evidence; exits \false;
    ensures aqd_watching(o); */
static aqd_status observer_refresh(aqd_observer *o)
{
    /* ORDER(publish): Acquire, as above. */
    uint32_t distance = aqd_load_acquire(o->view.ring + AQD_RING_TAIL) - (uint32_t)o->position;
    if (distance <= o->view.capacity) {
        o->tail = o->position + distance;
        return AQD_OK;
    }
    o->overrun = true;
    return aqd_observer_go_to_oldest(o);
}

AQD_COLD aqd_status aqd_observer_fall_back(aqd_observer *o, struct aqd_effort *left)
{
    o->overrun = true;
    aqd_status status = aqd_observer_go_to_oldest(o);
    if (status != AQD_OK) {
        return status;
    }
    left->overruns -= left->overruns > 0;
    return left->overruns > 0 ? AQD_OK : aqd_observer_overrun(o);
}

/* The first position from this one on, up to the tail, where a valid header stands. */
/*@ requires aqd_watching(o) && aqd_distance(at, o->tail) <= o->view.capacity && \valid(h) && \separated(o, h);
    assigns *h; exits \false;
    ensures aqd_distance(\result, o->tail) <= aqd_distance(at, o->tail); */
static inline uint64_t observer_search(const aqd_observer *o, uint64_t at, struct aqd_header *h)
{
    /*@ loop invariant aqd_distance(at, o->tail) <= aqd_distance(\at(at, Pre), o->tail);
        loop assigns at, *h;
        loop variant aqd_distance(at, o->tail); */
    while (at != o->tail && !aqd_load_valid(&o->view, at, o->tail, h)) {
        at++;
    }
    return at;
}

/* Goes on behind a header that is not valid: at the next valid one before the tail, or at the
 * tail. */
/*@ requires aqd_watching(o) && o->position != o->tail && \valid_read(damaged) && \valid(left) && \separated(o, left, damaged);
    assigns o->position, o->expected_seq, o->seq_known, o->evidence, o->stats, left->headers; exits \false;
    ensures aqd_watching(o) && \result == AQD_ERR_HEADER && left->headers <= \old(left->headers); */
AQD_COLD static aqd_status observer_resync(aqd_observer *o, const struct aqd_header *damaged, struct aqd_effort *left)
{
    struct aqd_header h = {.granules = 0};
    uint64_t from = o->position, at = observer_search(o, from + 1, &h);
    uint64_t spent = at - from;
    left->headers -= spent < left->headers ? spent : left->headers;
    o->evidence = (aqd_evidence){.position = from,
                                 .resumed = at,
                                 .expected_seq = o->expected_seq,
                                 .tail = o->tail,
                                 .stored_crc = damaged->stored_crc,
                                 .computed_crc = damaged->computed_crc};
    uint32_t lost = 0;
    /* If it was overrun while it searched, the number will tell. */
    if (at != o->tail && aqd_observer_was_whole(o, from)) {
        if (o->seq_known && h.seq > o->expected_seq) {
            lost = (uint32_t)(h.seq - o->expected_seq);
        }
        o->expected_seq = h.seq;
        o->seq_known = true;
        o->evidence.found_seq = h.seq;
    }
    o->position = at;
    aqd_observer_count(o, 1, lost);
    return AQD_ERR_HEADER;
}

/* The numbers do not follow: by damage reported before, or because the producer overtook us. */
/*@ requires aqd_watching(o) && \valid_read(h) && \separated(o, h);
    assigns o->expected_seq, o->overrun, o->evidence, o->stats; exits \false;
    ensures aqd_watching(o) && \result != AQD_OK; */
AQD_COLD static aqd_status observer_gap(aqd_observer *o, const struct aqd_header *h)
{
    bool was_overrun = o->overrun && h->seq > o->expected_seq;
    o->evidence = (aqd_evidence){.position = o->position,
                                 .resumed = o->position,
                                 .expected_seq = o->expected_seq,
                                 .found_seq = h->seq,
                                 .tail = o->tail};
    if (h->seq > o->expected_seq) {
        aqd_observer_count(o, 0, (uint32_t)(h->seq - o->expected_seq));
    }
    o->expected_seq = h->seq;
    o->overrun = false;
    return was_overrun ? AQD_ERR_OVERRUN : AQD_ERR_GAP;
}

/* With everything before o->tail used up: AQD_OK if a look at the shared words brings more. */
/*@ requires aqd_watching(o) && \valid(refreshed) && \valid(closing) && \separated(o, refreshed, closing);
    assigns o->position, o->tail, o->overrun, o->evidence, *refreshed, *closing; exits \false;
    ensures aqd_watching(o) && (\result == AQD_OK ==> o->position != o->tail); */
static aqd_status observer_look(aqd_observer *o, bool *refreshed, bool *closing)
{
    if (!*refreshed) {
        *refreshed = true;
        aqd_status status = observer_refresh(o);
        if (status != AQD_OK) {
            return status;
        }
    }
    if (o->position == o->tail && !*closing) {
        /* ORDER(close): Acquire. The tail loaded after a `closed` covers every DATA record. Pairs
         * with the producer's store-release. */
        if (aqd_load_acquire(o->view.ring + AQD_RING_STATE) != AQD_STATE_CLOSED) {
            return AQD_EMPTY;
        }
        *closing = true;
        aqd_status status = observer_refresh(o);
        if (status != AQD_OK) {
            return status;
        }
    }
    return o->position == o->tail ? AQD_CLOSED : AQD_OK;
}

/* AQD_OK if it is this record's turn, by its number. */
/*@ requires aqd_watching(o) && \valid_read(h) && \separated(o, h);
    assigns o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats; exits \false;
    ensures aqd_watching(o); */
static aqd_status observer_in_sequence(aqd_observer *o, const struct aqd_header *h)
{
    if (o->seq_known && h->seq != o->expected_seq) {
        return observer_gap(o, h);
    }
    o->expected_seq = h->seq;
    o->seq_known = true;
    o->overrun = false;
    return AQD_OK;
}

aqd_status aqd_observer_find(aqd_observer *o, struct aqd_header *h, struct aqd_effort *left)
{
    bool refreshed = false, closing = false;
    /*@ loop invariant aqd_watching(o);
        loop invariant left->headers <= \at(left->headers, Pre) && left->overruns <= \at(left->overruns, Pre);
        loop assigns o->position, o->tail, o->overrun, o->evidence, *h, *left, refreshed, closing;
        loop variant left->headers; */
    while (left->headers > 0) {
        left->headers--;
        aqd_status status = o->position == o->tail ? observer_look(o, &refreshed, &closing) : AQD_OK;
        /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
        if (status != AQD_OK) {
            return status;
        }
        bool valid = aqd_load_valid(&o->view, o->position, o->tail, h);
        if (!aqd_observer_was_whole(o, o->position)) {
            status = aqd_observer_fall_back(o, left);
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
            if (status != AQD_OK) {
                return status;
            }
        } else if (!valid) {
            status = observer_resync(o, h, left);
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
            return status;
        } else if (aqd_is_data(h)) {
            status = observer_in_sequence(o, h);
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
            return status;
        } else {
            o->position += h->granules;
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
        }
    }
    return aqd_observer_overrun(o);
}
