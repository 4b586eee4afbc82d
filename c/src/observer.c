/* The observer of ABI 4.3, over memory. Contracts: aqueduct/observer.h. Shared bytes only through
 * load.h.
 *
 * As reader.c with one rule more: what was copied counts only if `oldest`, loaded after the copy,
 * is not beyond it. If it is, reading goes on at `oldest`, and the next record's number tells what
 * was missed. Next: observer_batch.c. */
#include "aqueduct/observer.h"
#include "contracts.h"
#include "record.h"

#define COLD __attribute__((cold, noinline))

/* How often one call goes on after being overrun before it says so. */
#define OVERRUNS_PER_CALL 8u

/* What one call may still spend. */
struct effort {
    uint64_t headers; /* to load */
    uint32_t overruns;
};

/*@ requires aqd_watching(o);
    assigns \nothing; exits \false;
    ensures \result.headers == 32 * o->capacity && \result.overruns == OVERRUNS_PER_CALL; */
static struct effort new_effort(const aqd_observer *o)
{
    return (struct effort){.headers = 32 * (uint64_t)o->capacity, .overruns = OVERRUNS_PER_CALL};
}

/*@ requires aqd_watching(o);
    assigns \nothing; exits \false;
    ensures 0 <= aqd_slot(o->capacity, position) < o->capacity;
    ensures \result == o->data + aqd_slot(o->capacity, position) * AQD_GRANULE_BYTES; */
static inline const unsigned char *granule(const aqd_observer *o, uint64_t position) { return aqd_granule(o->data, o->capacity, position); }

/* Loads the header at a position before o->tail; true if it is valid there. */
/*@ requires aqd_watching(o) && aqd_distance(position, o->tail) <= o->capacity && \valid(h) && \separated(o, h);
    assigns *h; exits \false;
    ensures aqd_watching(o);
    ensures \result ==> aqd_fits_in(h, o->capacity, position, o->tail);
    ensures \result && h->kind == AQD_KIND_DATA ==> h->len <= o->max_payload; */
static inline bool load_header(const aqd_observer *o, uint64_t position, struct aqd_header *h)
{
    aqd_load_record(granule(o, position), position, &o->epoch_crc, h);
    return aqd_is_valid(h, o->capacity, o->max_payload, position, o->tail);
}

/*@ requires \valid(o);
    assigns o->stats; exits \false; */
COLD static void count(aqd_observer *o, uint32_t corrupt, uint32_t lost)
{
    o->stats.corrupt += corrupt;
    o->stats.lost += lost;
}

/* Overrun, and not yet known by how much. */
/*@ requires aqd_watching(o);
    assigns o->overrun, o->evidence; exits \false;
    ensures aqd_watching(o) && \result != AQD_OK; */
COLD static aqd_status overrun(aqd_observer *o)
{
    o->overrun = true;
    o->evidence = (aqd_evidence){
        .position = o->position, .resumed = o->position, .expected_seq = o->expected_seq, .found_seq = o->expected_seq, .tail = o->tail};
    return AQD_ERR_OVERRUN;
}

/* Stands at the oldest whole record, with a tail that was current then. */
/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->overrun, o->evidence; exits \false;
    ensures aqd_watching(o); */
COLD static aqd_status skip_to_oldest(aqd_observer *o)
{
    uint32_t oldest = 0, tail = 0, first = 0;
    /* The producer moves both words while we load them; a pair that fits comes soon, or the
     * producer is too fast or broken. */
    /*@ loop invariant attempt <= OVERRUNS_PER_CALL;
        loop assigns attempt, oldest, tail, first;
        loop variant OVERRUNS_PER_CALL - attempt; */
    for (uint32_t attempt = 0; attempt < OVERRUNS_PER_CALL; attempt++) {
        /* ORDER(oldest): Acquire. The tail loaded next is not before it. Pairs with the producer's
         * store-release of `oldest`. */
        oldest = aqd_load_acquire(o->ring + AQD_RING_OLDEST);
        /* ORDER(publish): Acquire. The bytes before this tail are seen. Pairs with the producer's
         * store-release of `tail`. */
        tail = aqd_load_acquire(o->ring + AQD_RING_TAIL);
        if (tail - oldest <= o->capacity) {
            /* Nobody compares an observer's positions of before and after, so they need not count
             * laps. */
            o->position = oldest;
            o->tail = o->position + (tail - oldest);
            return AQD_OK;
        }
        first = attempt == 0 ? oldest : first;
    }
    if (oldest != first) {
        return overrun(o);
    }
    o->evidence = (aqd_evidence){.position = oldest, .resumed = o->position, .tail = tail};
    return AQD_ERR_TAIL;
}

/* Adopts the shared tail, or goes on at the oldest record if the tail has run away. */
/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->overrun, o->evidence; exits \false;
    ensures aqd_watching(o); */
static aqd_status refresh(aqd_observer *o)
{
    /* ORDER(publish): Acquire, as above. */
    uint32_t distance = aqd_load_acquire(o->ring + AQD_RING_TAIL) - (uint32_t)o->position;
    if (distance <= o->capacity) {
        o->tail = o->position + distance;
        return AQD_OK;
    }
    o->overrun = true;
    return skip_to_oldest(o);
}

/* Whether what was just copied from position on was whole after the copy. */
/*@ requires aqd_watching(o);
    assigns \nothing; exits \false; */
static bool was_whole(const aqd_observer *o, uint64_t position)
{
    /* ORDER(oldest): Acquire fence. If the copy holds a byte of a later record, the load below sees
     * the `oldest` stored before that byte. Pairs with the release fence of ABI 4.1.2. */
    aqd_fence_acquire();
    /* ORDER(oldest): Relaxed; the fence orders it. */
    return !aqd_is_before(position, aqd_load_relaxed(o->ring + AQD_RING_OLDEST));
}

/* Goes on at the oldest record after being overrun, a bounded number of times. */
/*@ requires aqd_watching(o) && \valid(left) && \separated(o, left);
    assigns o->position, o->tail, o->overrun, o->evidence, left->overruns; exits \false;
    ensures aqd_watching(o);
    ensures left->overruns <= \old(left->overruns) && (\result == AQD_OK ==> left->overruns < \old(left->overruns)); */
COLD static aqd_status fall_back(aqd_observer *o, struct effort *left)
{
    o->overrun = true;
    aqd_status status = skip_to_oldest(o);
    if (status != AQD_OK) {
        return status;
    }
    left->overruns -= left->overruns > 0;
    return left->overruns > 0 ? AQD_OK : overrun(o);
}

/* The first position from this one on, up to the tail, where a valid header stands. */
/*@ requires aqd_watching(o) && aqd_distance(at, o->tail) <= o->capacity && \valid(h) && \separated(o, h);
    assigns *h; exits \false;
    ensures aqd_distance(\result, o->tail) <= aqd_distance(at, o->tail); */
static inline uint64_t search(const aqd_observer *o, uint64_t at, struct aqd_header *h)
{
    /*@ loop invariant aqd_distance(at, o->tail) <= aqd_distance(\at(at, Pre), o->tail);
        loop assigns at, *h;
        loop variant aqd_distance(at, o->tail); */
    while (at != o->tail && !load_header(o, at, h)) {
        at++;
    }
    return at;
}

/* Goes on behind a header that is not valid: at the next valid one before the tail, or at the
 * tail. */
/*@ requires aqd_watching(o) && o->position != o->tail && \valid_read(damaged) && \valid(left) && \separated(o, left, damaged);
    assigns o->position, o->expected_seq, o->seq_known, o->evidence, o->stats, left->headers; exits \false;
    ensures aqd_watching(o) && \result == AQD_ERR_HEADER && left->headers <= \old(left->headers); */
COLD static aqd_status resync(aqd_observer *o, const struct aqd_header *damaged, struct effort *left)
{
    struct aqd_header h = {.granules = 0};
    uint64_t from = o->position, at = search(o, from + 1, &h);
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
    if (at != o->tail && was_whole(o, from)) {
        if (o->seq_known && h.seq > o->expected_seq) {
            lost = (uint32_t)(h.seq - o->expected_seq);
        }
        o->expected_seq = h.seq;
        o->seq_known = true;
        o->evidence.found_seq = h.seq;
    }
    o->position = at;
    count(o, 1, lost);
    return AQD_ERR_HEADER;
}

/* The numbers do not follow: by damage reported before, or because the producer overtook us. */
/*@ requires aqd_watching(o) && \valid_read(h) && \separated(o, h);
    assigns o->expected_seq, o->overrun, o->evidence, o->stats; exits \false;
    ensures aqd_watching(o) && \result != AQD_OK; */
COLD static aqd_status gap(aqd_observer *o, const struct aqd_header *h)
{
    bool was_overrun = o->overrun && h->seq > o->expected_seq;
    o->evidence = (aqd_evidence){.position = o->position,
                                 .resumed = o->position,
                                 .expected_seq = o->expected_seq,
                                 .found_seq = h->seq,
                                 .tail = o->tail};
    if (h->seq > o->expected_seq) {
        count(o, 0, (uint32_t)(h->seq - o->expected_seq));
    }
    o->expected_seq = h->seq;
    o->overrun = false;
    return was_overrun ? AQD_ERR_OVERRUN : AQD_ERR_GAP;
}

/* With everything before o->tail used up: AQD_OK if a look at the shared words brings more. */
/*@ requires aqd_watching(o) && \valid(refreshed) && \valid(closing) && \separated(o, refreshed, closing);
    assigns o->position, o->tail, o->overrun, o->evidence, *refreshed, *closing; exits \false;
    ensures aqd_watching(o) && (\result == AQD_OK ==> o->position != o->tail); */
static aqd_status look(aqd_observer *o, bool *refreshed, bool *closing)
{
    if (!*refreshed) {
        *refreshed = true;
        aqd_status status = refresh(o);
        if (status != AQD_OK) {
            return status;
        }
    }
    if (o->position == o->tail && !*closing) {
        /* ORDER(close): Acquire. The tail loaded after a `closed` covers every DATA record. Pairs
         * with the producer's store-release. */
        if (aqd_load_acquire(o->ring + AQD_RING_STATE) != AQD_STATE_CLOSED) {
            return AQD_EMPTY;
        }
        *closing = true;
        aqd_status status = refresh(o);
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
static aqd_status in_sequence(aqd_observer *o, const struct aqd_header *h)
{
    if (o->seq_known && h->seq != o->expected_seq) {
        return gap(o, h);
    }
    o->expected_seq = h->seq;
    o->seq_known = true;
    o->overrun = false;
    return AQD_OK;
}

/* AQD_OK: the record at o->position is DATA, its header *h valid and whole. Each round spends one
 * header, and so does each call. */
/*@ requires aqd_watching(o) && \valid(h) && \valid(left) && \separated(o, h, left);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *h, *left; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> aqd_fits_in(h, o->capacity, o->position, o->tail) && h->len <= o->max_payload;
    ensures left->overruns <= \old(left->overruns);
    ensures \old(left->headers) > 0 ==> left->headers < \old(left->headers); */
static aqd_status find(aqd_observer *o, struct aqd_header *h, struct effort *left)
{
    bool refreshed = false, closing = false;
    /*@ loop invariant aqd_watching(o);
        loop invariant left->headers <= \at(left->headers, Pre) && left->overruns <= \at(left->overruns, Pre);
        loop assigns o->position, o->tail, o->overrun, o->evidence, *h, *left, refreshed, closing;
        loop variant left->headers; */
    while (left->headers > 0) {
        left->headers--;
        aqd_status status = o->position == o->tail ? look(o, &refreshed, &closing) : AQD_OK;
        /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
        if (status != AQD_OK) {
            return status;
        }
        bool valid = load_header(o, o->position, h);
        if (!was_whole(o, o->position)) {
            status = fall_back(o, left);
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
            if (status != AQD_OK) {
                return status;
            }
        } else if (!valid) {
            status = resync(o, h, left);
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
            return status;
        } else if (h->kind == AQD_KIND_DATA) {
            status = in_sequence(o, h);
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
            return status;
        } else {
            o->position += h->granules;
            /*@ assert left->overruns <= \at(left->overruns, Pre) && left->headers < \at(left->headers, Pre); */
        }
    }
    return overrun(o);
}

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
    ensures \result == AQD_OK ==> rec->len == h->len;
    ensures \result == AQD_OK ==> aqd_fits_in(h, o->capacity, o->position, o->tail) && h->len <= o->max_payload; */
static aqd_status find_and_describe(aqd_observer *o, struct aqd_header *h, struct effort *left, aqd_record *rec)
{
    aqd_status status = find(o, h, left);
    if (status == AQD_OK || status == AQD_ERR_GAP || is_overrun_by_known(o, status)) {
        aqd_describe(rec, h);
    }
    return status;
}

/*@ requires aqd_watching(o) && \valid_read(h) && \separated(o, h) && h->granules <= aqd_distance(o->position, o->tail);
    assigns o->position, o->expected_seq; exits \false;
    ensures aqd_watching(o); */
static void consume(aqd_observer *o, const struct aqd_header *h)
{
    o->position += h->granules;
    o->expected_seq = h->seq + 1;
}

aqd_status aqd_observer_next(aqd_observer *o, void *buf, size_t cap, aqd_record *rec)
{
    struct effort left = new_effort(o);
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
            return AQD_ERR_SPACE;
        }
        uint32_t computed_crc = aqd_load_bytes_crc((unsigned char *)buf, granule(o, o->position) + AQD_GRANULE_BYTES, h.len);
        if (was_whole(o, o->position)) {
            if (computed_crc != h.payload_crc) {
                o->evidence = (aqd_evidence){.position = o->position,
                                             .resumed = o->position + h.granules,
                                             .expected_seq = h.seq,
                                             .found_seq = h.seq,
                                             .tail = o->tail,
                                             .stored_crc = h.payload_crc,
                                             .computed_crc = computed_crc};
                count(o, 1, 1);
                status = AQD_ERR_PAYLOAD;
            }
            consume(o, &h);
            return status;
        }
        /* At most OVERRUNS_PER_CALL times. */
        status = fall_back(o, &left);
        if (status != AQD_OK) {
            return status;
        }
    }
}

/*@ requires aqd_watching(o) && \valid(rec) && \separated(o, rec);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *rec; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> rec->len <= o->max_payload; */
aqd_status aqd_observer_peek(aqd_observer *o, aqd_record *rec)
{
    struct aqd_header h;
    struct effort left = new_effort(o);
    return find_and_describe(o, &h, &left, rec);
}

/*@ requires aqd_watching(o) && \valid(rec) && \separated(o, rec);
    assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, *rec; exits \false;
    ensures aqd_watching(o);
    ensures \result == AQD_OK ==> rec->len <= o->max_payload; */
aqd_status aqd_observer_skip(aqd_observer *o, aqd_record *rec)
{
    struct aqd_header h;
    struct effort left = new_effort(o);
    aqd_status status = find_and_describe(o, &h, &left, rec);
    if (status == AQD_OK) {
        consume(o, &h);
    }
    return status;
}

/*@ requires aqd_watching(o);
    assigns o->evidence; exits \false;
    ensures aqd_watching(o); */
static aqd_status gone(aqd_observer *o, uint64_t seq, uint64_t found)
{
    o->evidence =
        (aqd_evidence){.position = o->position, .resumed = o->position, .expected_seq = seq, .found_seq = found, .tail = o->tail};
    return AQD_ERR_GONE;
}

/* Nothing is published behind the records that were skipped. */
/*@ requires aqd_watching(o);
    assigns o->expected_seq, o->seq_known, o->evidence; exits \false;
    ensures aqd_watching(o); */
static aqd_status judge_at_tail(aqd_observer *o, uint64_t seq)
{
    if (!o->seq_known) {
        /* ORDER(none): the Acquire of the tail makes it at least that tail's number; as in seek.c. */
        uint32_t ahead = (uint32_t)seq - aqd_load_relaxed(o->ring + AQD_RING_NEXT_SEQ);
        if (ahead != 0 && ahead <= UINT32_MAX / 2) {
            return AQD_AHEAD;
        }
        o->expected_seq = seq;
        o->seq_known = true;
        return AQD_OK;
    }
    return o->expected_seq == seq ? AQD_OK : o->expected_seq < seq ? AQD_AHEAD : gone(o, seq, o->expected_seq);
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
    aqd_status status = skip_to_oldest(o);
    if (status != AQD_OK) {
        return status;
    }
    /* One effort for all rounds: each loads a header at least. */
    struct effort left = new_effort(o);
    /*@ loop invariant aqd_watching(o);
        loop assigns o->position, o->tail, o->expected_seq, o->seq_known, o->overrun, o->evidence, o->stats, left, status;
        loop variant left.headers; */
    while (left.headers > 0) {
        struct aqd_header h;
        status = find(o, &h, &left);
        if (status == AQD_EMPTY || status == AQD_CLOSED) {
            return judge_at_tail(o, seq);
        }
        if (status == AQD_ERR_TAIL || (status == AQD_ERR_OVERRUN && !is_overrun_by_known(o, status))) {
            return status;
        }
        if (status == AQD_OK && h.seq >= seq) {
            return h.seq == seq ? AQD_OK : gone(o, seq, h.seq);
        }
        if (status == AQD_OK) {
            consume(o, &h);
        }
    }
    return overrun(o);
}

/*@ requires aqd_watching(o);
    assigns o->position, o->tail, o->seq_known, o->overrun; exits \false;
    ensures aqd_watching(o); */
aqd_status aqd_observer_skip_to_latest(aqd_observer *o)
{
    /* ORDER(publish): Acquire. What is read from there on was written before it. Pairs with the
     * producer's store-release of `tail`. */
    uint32_t tail = aqd_load_acquire(o->ring + AQD_RING_TAIL);
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
    return o->position != o->tail || aqd_load_relaxed(o->ring + AQD_RING_TAIL) != (uint32_t)o->position
           || aqd_load_relaxed(o->ring + AQD_RING_STATE) == AQD_STATE_CLOSED;
}

/*@ assigns \result \from o; exits \false;
    ensures \result == &o->stats; */
const aqd_stats *aqd_observer_stats(const aqd_observer *o) { return &o->stats; }

/*@ assigns \result \from o; exits \false;
    ensures \result == &o->evidence; */
const aqd_evidence *aqd_observer_evidence(const aqd_observer *o) { return &o->evidence; }

/*@ assigns \result \from o; exits \false;
    ensures \result == &o->info; */
const aqd_ring_info *aqd_observer_info(const aqd_observer *o) { return &o->info; }

/* Makes an observer of a reader of the same ring. It stands nowhere yet. */
/*@ requires \valid(o) && aqd_sound(r) && \separated(o, r);
    assigns *o; exits \false;
    ensures aqd_watching(o) && o->ring == r->ring && o->data == r->data; */
static void take_over(aqd_observer *o, const aqd_reader *r)
{
    o->stats = (aqd_stats){0};
    o->evidence = (aqd_evidence){0};
    o->info = r->info;
    o->ring = r->ring;
    o->data = r->data;
    o->position = 0;
    o->tail = 0;
    o->expected_seq = 0;
    o->capacity = r->capacity;
    o->max_payload = r->max_payload;
    o->epoch_crc = r->epoch_crc;
    o->seq_known = false;
    o->overrun = false;
}

/*@ requires ring == \null || \valid_read((const unsigned char *)ring + (0 .. ring_bytes - 1));
    requires o == \null || \valid(o);
    requires \separated(o, (const unsigned char *)ring + (0 .. ring_bytes - 1));
    assigns *o; exits \false;
    ensures \result == AQD_OK ==> aqd_watching(o);
    ensures \result == AQD_ERR_TAIL ==> aqd_watching(o); */
aqd_status aqd_observer_init(aqd_observer *o, const void *ring, size_t ring_bytes)
{
    /* The reader's own checks of the ring, made with a cursor segment that nobody else sees. */
    _Alignas(AQD_SEGMENT_ALIGN_BYTES) unsigned char page[AQD_CURSOR_BYTES_MIN] = AQD_CURSOR_MAGIC;
    unsigned char magic[AQD_MAGIC_BYTES];
    if (!o || !ring || (uintptr_t)ring % AQD_SEGMENT_ALIGN_BYTES != 0) {
        return AQD_ERR_ARGUMENT;
    }
    if (ring_bytes < sizeof(struct aqd_abi_ring_header)) {
        return AQD_ERR_SIZE;
    }
    const unsigned char *shared = (const unsigned char *)ring;
    aqd_load_bytes(magic, shared, AQD_MAGIC_BYTES); /* looked at by the reader, which loads it again */
    /* ORDER(create): Acquire. Who sees the magic sees the epoch. Pairs with the creator's release
     * fence before it stores the magic. */
    aqd_fence_acquire();
    aqd_load_bytes(page + offsetof(struct aqd_abi_cursor_identity, epoch), shared + offsetof(struct aqd_abi_ring_header, epoch), 8);
    aqd_put16(page + offsetof(struct aqd_abi_cursor_identity, abi_major), AQD_ABI_MAJOR);
    aqd_put32(page + offsetof(struct aqd_abi_cursor_identity, identity_crc), aqd_crc32(page, 60));
    aqd_reader r;
    aqd_status status = aqd_reader_init(&r, ring, ring_bytes, page, sizeof page);
    if (status == AQD_ERR_CURSOR) {
        return AQD_ERR_MAGIC; /* the epoch changed: it was not a ring yet when we looked */
    }
    if (status != AQD_OK && status != AQD_ERR_TAIL) {
        return status;
    }
    take_over(o, &r);
    status = skip_to_oldest(o);
    /*@ assert aqd_watching(o); */
    return status == AQD_ERR_OVERRUN ? AQD_OK : status;
}
