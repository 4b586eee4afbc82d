/* What the differential targets need of the C library beside its functions: sizes, and fields that
 * its headers call private. */
#include "aqueduct/observer.h"

size_t aqd_fuzz_reader_size(void) { return sizeof(aqd_reader); }

size_t aqd_fuzz_observer_size(void) { return sizeof(aqd_observer); }

uint64_t aqd_fuzz_position(const aqd_reader *r) { return r->position; }

uint64_t aqd_fuzz_observer_position(const aqd_observer *o) { return o->position; }

bool aqd_fuzz_observer_used_up(const aqd_observer *o) { return o->position == o->tail; }

uint32_t aqd_fuzz_released(const aqd_reader *r)
{
    return __atomic_load_n((const uint32_t *)(const void *)(r->cursor + AQD_CURSOR_CURSOR), __ATOMIC_RELAXED);
}

/* Whether the next record's number is known; *seq is set if so. */
bool aqd_fuzz_expected(const aqd_reader *r, uint64_t *seq)
{
    *seq = r->seq_known ? r->expected_seq : *seq;
    return r->seq_known;
}

bool aqd_fuzz_observer_expected(const aqd_observer *o, uint64_t *seq)
{
    *seq = o->seq_known ? o->expected_seq : *seq;
    return o->seq_known;
}

/* The number that a seek at the tail took on trust is forgotten: Rust takes none. */
void aqd_fuzz_forget(aqd_reader *r) { r->seq_known = false; }

void aqd_fuzz_observer_forget(aqd_observer *o) { o->seq_known = false; }
