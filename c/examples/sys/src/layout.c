/* What this compiler makes of the structs that src/lib.rs declares again. */
#include <stddef.h>

#include "aqueduct/reader.h"

#define SIZE_AND_ALIGNMENT(type) sizeof(type), _Alignof(type)

const size_t aqueduct_sys_layout[] = {
    SIZE_AND_ALIGNMENT(aqd_record),
    SIZE_AND_ALIGNMENT(aqd_ring_info),
    SIZE_AND_ALIGNMENT(aqd_stats),
    SIZE_AND_ALIGNMENT(aqd_evidence),
    SIZE_AND_ALIGNMENT(aqd_item),
    SIZE_AND_ALIGNMENT(aqd_lag),
    SIZE_AND_ALIGNMENT(aqd_reader),
    offsetof(aqd_record, timestamp_ns),
    offsetof(aqd_record, len),
    offsetof(aqd_record, type_tag),
    offsetof(aqd_record, flags),
    offsetof(aqd_record, attribute_units),
    offsetof(aqd_ring_info, created_ns),
    offsetof(aqd_ring_info, capacity),
    offsetof(aqd_ring_info, max_payload),
    offsetof(aqd_ring_info, clock_id),
    offsetof(aqd_ring_info, abi_minor),
    offsetof(aqd_ring_info, name),
    offsetof(aqd_stats, lost),
    offsetof(aqd_stats, missed_wakes),
    offsetof(aqd_evidence, resumed),
    offsetof(aqd_evidence, expected_seq),
    offsetof(aqd_evidence, found_seq),
    offsetof(aqd_evidence, tail),
    offsetof(aqd_evidence, stored_crc),
    offsetof(aqd_evidence, computed_crc),
    offsetof(aqd_item, payload),
    offsetof(aqd_lag, bytes),
    offsetof(aqd_lag, age_ns),
};

_Static_assert(sizeof aqueduct_sys_layout / sizeof aqueduct_sys_layout[0] == 36, "as long as LAYOUT of src/lib.rs");
