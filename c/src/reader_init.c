/* Making a gating reader of a ring segment and a cursor segment. Contracts: aqueduct/reader.h. */
#include "compiler.h"

#include "aqueduct/reader.h"
#include "bytes.h"
#include "contracts.h"
#include "crc32/crc32.h"
#include "load.h"
#include "reader_tail.h"
#include "ring.h"

/*@ requires \valid_read(identity + (0 .. 63));
    assigns \nothing; exits \false;
    ensures \result != AQD_ERR_TAIL; */
static aqd_status check_cursor(const unsigned char identity[64], uint64_t epoch)
{
    if (!aqd_same_bytes(identity, AQD_CURSOR_MAGIC, AQD_MAGIC_BYTES)) {
        return AQD_ERR_CURSOR;
    }
    if (aqd_get16(identity + 8) != AQD_ABI_MAJOR) {
        return AQD_ERR_VERSION;
    }
    return aqd_get32(identity + 60) != aqd_crc32(identity, 60) || aqd_get64(identity + 16) != epoch ? AQD_ERR_CURSOR : AQD_OK;
}

/* Copies what the cursor segment says of itself, checks the copy and sets the reader up where the
 * subscription stands; it has not looked at the tail yet. */
/*@ requires \valid(r) && aqd_holds(&r->view) && \valid(cursor + (0 .. cursor_bytes - 1));
    requires \separated(r, cursor + (0 .. cursor_bytes - 1));
    assigns r->cursor, r->position, r->tail, r->expected_seq, r->seq_known, r->answered, r->evidence, r->stats,
            cursor[AQD_CURSOR_WAITING .. AQD_CURSOR_WAITING + 3]; exits \false;
    ensures \result != AQD_ERR_TAIL;
    ensures \result == AQD_OK ==> aqd_inside(r) && r->tail == r->position; */
static aqd_status adopt_cursor(aqd_reader *r, unsigned char *cursor, size_t cursor_bytes)
{
    unsigned char identity[sizeof(struct aqd_abi_cursor_identity)];
    if (cursor_bytes < AQD_CURSOR_BYTES_MIN) {
        return AQD_ERR_SIZE;
    }
    aqd_load_bytes(identity, cursor, sizeof identity);
    /* ORDER(create): Acquire. Who sees the identity sees the words after it. Pairs with the
     * creator's release fence before it stores the magic. */
    aqd_fence_acquire();
    aqd_status status = check_cursor(identity, r->info.epoch);
    if (status != AQD_OK) {
        return status;
    }
    r->cursor = cursor;
    r->expected_seq = 0;
    r->seq_known = false;
    r->answered = 0;
    r->evidence = (aqd_evidence){0};
    /* ORDER(none): words of the reader's side; the reader that had the name before has handed over
     * by way of the control socket. */
    r->position = aqd_load_relaxed(cursor + AQD_CURSOR_CURSOR);
    r->tail = r->position;
    r->stats.corrupt = aqd_load_relaxed(cursor + AQD_CURSOR_CORRUPT);
    r->stats.lost = aqd_load_relaxed(cursor + AQD_CURSOR_LOST);
    r->stats.missed_wakes = aqd_load_relaxed(cursor + AQD_CURSOR_MISSED_WAKES);
    /* A predecessor on the same cursor segment may have died asleep. */
    aqd_store_relaxed(cursor + AQD_CURSOR_WAITING, 0);
    return AQD_OK;
}

aqd_status aqd_reader_init(aqd_reader *r, const void *ring, size_t ring_bytes, void *cursor, size_t cursor_bytes)
{
    if (!r || !ring || !cursor || (uintptr_t)ring % AQD_SEGMENT_ALIGN_BYTES != 0 || (uintptr_t)cursor % AQD_SEGMENT_ALIGN_BYTES != 0) {
        return AQD_ERR_ARGUMENT;
    }
    aqd_status status = aqd_ring_open(&r->view, &r->info, (const unsigned char *)ring, ring_bytes);
    if (status == AQD_OK) {
        status = adopt_cursor(r, (unsigned char *)cursor, cursor_bytes);
    }
    if (status != AQD_OK) {
        return status;
    }
    return aqd_reader_refresh(r) ? AQD_OK : AQD_ERR_TAIL;
}
