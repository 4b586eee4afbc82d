/* The calls of the observer of ABI 4.3, over memory. Contracts: aqueduct/observer.h. */
#include "compiler.h"

#include "aqueduct/observer.h"
#include "contracts.h"
#include "observer_find.h"
#include "record.h"
#include "ring.h"

/* Whether it was overrun and *h of find is the record found then. */
/*@ requires \valid_read(o);
    assigns \nothing; exits \false;
    ensures \result <==> status == AQD_ERR_OVERRUN && o->evidence.found_seq != o->evidence.expected_seq; */
static bool is_overrun_by_known(const aqd_observer *o, aqd_status status)
{
    return status == AQD_ERR_OVERRUN && o->evidence.found_seq != o->evidence.expected_seq;
}

/* find, with the record described as promised. */
/*@ requires aqd_watching(o) && \valid(h) && \valid(left) && \valid(rec) && \separated(o, h, left, rec);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *h, *left, *rec; exits \false;
    ensures aqd_watching(o) && left->overruns <= \old(left->overruns);
    ensures \result == AQD_OK ==> aqd_total(rec) == h->len;
    ensures \result == AQD_OK ==> aqd_fits_in(h, o->view.capacity, o->position, o->tail) && h->len <= o->view.max_payload; */
static aqd_status find_and_describe(aqd_observer *o, struct aqd_header *h, struct aqd_effort *left, aqd_record *rec)
{
    aqd_status status = aqd_observer_find(o, h, left);
    if (status == AQD_OK || status == AQD_ERR_GAP || is_overrun_by_known(o, status)) {
        aqd_describe(rec, h);
    }
    return status;
}

/*@ requires aqd_watching(o) && \valid_read(h) && \separated(o, h) && h->granules <= aqd_distance(o->position, o->tail);
    assigns o->position, o->expected_seq; exits \false;
    ensures aqd_watching(o); */
static void observer_consume(aqd_observer *o, const struct aqd_header *h)
{
    o->position += h->granules;
    o->expected_seq = h->seq + 1;
}

aqd_status aqd_observer_next(aqd_observer *o, void *buf, size_t cap, aqd_record *rec)
{
    struct aqd_effort left = aqd_observer_new_effort(o);
    /*@ loop invariant aqd_watching(o);
        loop assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *rec, left,
                     ((unsigned char *)buf)[0 .. cap - 1];
        loop variant left.overruns; */
    for (;;) {
        struct aqd_header h;
        aqd_status status = find_and_describe(o, &h, &left, rec);
        if (status != AQD_OK) {
            return status;
        }
        if (cap < h.len) {
            aqd_describe_need(rec, &h);
            return AQD_ERR_SPACE;
        }
        uint32_t computed_crc = aqd_load_bytes_crc((unsigned char *)buf, aqd_granule(&o->view, o->position) + AQD_GRANULE_BYTES, h.len);
        if (aqd_observer_was_whole(o, o->position)) {
            if (computed_crc != h.payload_crc) {
                o->evidence = (aqd_evidence){.position = o->position,
                                             .resumed = o->position + h.granules,
                                             .expected_seq = h.seq,
                                             .found_seq = h.seq,
                                             .tail = o->tail,
                                             .stored_crc = h.payload_crc,
                                             .computed_crc = computed_crc};
                aqd_observer_count(o, 1, 1);
                status = AQD_ERR_PAYLOAD;
            }
            observer_consume(o, &h);
            return status;
        }
        /* At most OVERRUNS_PER_CALL times. */
        status = aqd_observer_fall_back(o, &left);
        if (status != AQD_OK) {
            return status;
        }
    }
}

/*@ requires aqd_watching(o) && \valid(rec) && \separated(o, rec);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *rec; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> aqd_total(rec) <= o->view.max_payload; */
aqd_status aqd_observer_peek(aqd_observer *o, aqd_record *rec)
{
    struct aqd_header h;
    struct aqd_effort left = aqd_observer_new_effort(o);
    return find_and_describe(o, &h, &left, rec);
}

/*@ requires aqd_watching(o) && \valid(rec) && \separated(o, rec);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *rec; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> aqd_total(rec) <= o->view.max_payload; */
aqd_status aqd_observer_skip(aqd_observer *o, aqd_record *rec)
{
    struct aqd_header h;
    struct aqd_effort left = aqd_observer_new_effort(o);
    aqd_status status = find_and_describe(o, &h, &left, rec);
    if (status == AQD_OK) {
        observer_consume(o, &h);
    }
    return status;
}

/*@ requires aqd_watching(o);
    assigns o->evidence; exits \false;
    ensures aqd_watching(o); */
static aqd_status observer_gone(aqd_observer *o, uint64_t seq, uint64_t found)
{
    o->evidence =
        (aqd_evidence){.position = o->position, .resumed = o->position, .expected_seq = seq, .found_seq = found, .tail = o->tail};
    return AQD_ERR_GONE;
}

/* Nothing is published behind the records that were skipped. */
/*@ requires aqd_watching(o);
    assigns o->expected_seq, o->seq_known, o->evidence; exits \false;
    ensures aqd_watching(o); */
static aqd_status observer_judge_at_tail(aqd_observer *o, uint64_t seq)
{
    if (!o->seq_known) {
        /* ORDER(none): the Acquire of the tail makes it at least that tail's number; as in
         * seek.c. */
        uint32_t ahead = (uint32_t)seq - aqd_load_relaxed(o->view.ring + AQD_RING_NEXT_SEQ);
        if (ahead != 0 && ahead <= UINT32_MAX / 2) {
            return AQD_AHEAD;
        }
        o->expected_seq = seq;
        o->seq_known = true;
        return AQD_OK;
    }
    return o->expected_seq == seq ? AQD_OK : o->expected_seq < seq ? AQD_AHEAD : observer_gone(o, seq, o->expected_seq);
}

/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats; exits \false;
    ensures aqd_watching(o); */
aqd_status aqd_observer_seek(aqd_observer *o, uint64_t epoch, uint64_t seq)
{
    if (epoch != o->info.epoch) {
        return AQD_ERR_EPOCH;
    }
    o->seq_known = false;
    o->overrun = false;
    aqd_status status = aqd_observer_go_to_oldest(o);
    if (status != AQD_OK) {
        return status;
    }
    /* One effort for all rounds: each loads a header at least. */
    struct aqd_effort left = aqd_observer_new_effort(o);
    /*@ loop invariant aqd_watching(o);
        loop assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, left, status;
        loop variant left.headers; */
    while (left.headers > 0) {
        struct aqd_header h;
        status = aqd_observer_find(o, &h, &left);
        if (status == AQD_EMPTY || status == AQD_CLOSED) {
            return observer_judge_at_tail(o, seq);
        }
        if (status == AQD_ERR_TAIL || (status == AQD_ERR_OVERRUN && !is_overrun_by_known(o, status))) {
            return status;
        }
        if (status == AQD_OK && h.seq >= seq) {
            return h.seq == seq ? AQD_OK : observer_gone(o, seq, h.seq);
        }
        if (status == AQD_OK) {
            observer_consume(o, &h);
        }
    }
    return aqd_observer_overrun(o);
}

/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->seq_known, o->overrun; exits \false;
    ensures aqd_watching(o); */
aqd_status aqd_observer_skip_to_latest(aqd_observer *o)
{
    /* ORDER(publish): Acquire. What is read from there on was written before it. Pairs with the
     * producer's store-release of `tail`. */
    uint32_t tail = aqd_load_acquire(o->view.ring + AQD_RING_TAIL);
    if (tail != (uint32_t)o->position) {
        o->seq_known = false;
        o->overrun = false;
    }
    o->position = tail;
    o->tail = tail;
    return AQD_OK;
}

/*@ requires aqd_watching(o);
    assigns \nothing; exits \false; */
bool aqd_observer_ready(const aqd_observer *o)
{
    /* ORDER(none): only a hint; reading loads both again, with Acquire. */
    return o->position != o->tail || aqd_load_relaxed(o->view.ring + AQD_RING_TAIL) != (uint32_t)o->position
           || aqd_load_relaxed(o->view.ring + AQD_RING_STATE) == AQD_STATE_CLOSED;
}

/*@ assigns \result \from o; exits \false;
    ensures \result == &o->stats; */
const aqd_stats *aqd_observer_get_stats(const aqd_observer *o) { return &o->stats; }

/*@ assigns \result \from o; exits \false;
    ensures \result == &o->evidence; */
const aqd_evidence *aqd_observer_get_evidence(const aqd_observer *o) { return &o->evidence; }

/*@ assigns \result \from o; exits \false;
    ensures \result == &o->info; */
const aqd_ring_info *aqd_observer_get_info(const aqd_observer *o) { return &o->info; }

/*@ requires ring == \null || \valid_read((const unsigned char *)ring + (0 .. ring_bytes - 1));
    requires o == \null || \valid(o);
    requires \separated(o, (const unsigned char *)ring + (0 .. ring_bytes - 1));
    assigns *o; exits \false;
    ensures \result == AQD_OK ==> aqd_watching(o);
    ensures \result == AQD_ERR_TAIL ==> aqd_watching(o); */
aqd_status aqd_observer_init(aqd_observer *o, const void *ring, size_t ring_bytes)
{
    if (!o || !ring || (uintptr_t)ring % AQD_SEGMENT_ALIGN_BYTES != 0) {
        return AQD_ERR_ARGUMENT;
    }
    aqd_status status = aqd_ring_open(&o->view, &o->info, (const unsigned char *)ring, ring_bytes);
    if (status != AQD_OK) {
        return status;
    }
    o->position = 0;
    o->tail = 0;
    o->expected_seq = 0;
    o->seq_known = false;
    o->overrun = false;
    o->stats = (aqd_stats){0};
    o->evidence = (aqd_evidence){0};
    status = aqd_observer_go_to_oldest(o);
    /*@ assert aqd_watching(o); */
    return status == AQD_ERR_OVERRUN ? AQD_OK : status;
}
