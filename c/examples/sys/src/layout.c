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
    offsetof(aqd_record, len),
    offsetof(aqd_record, attribute_units),
    offsetof(aqd_ring_info, name),
    offsetof(aqd_evidence, computed_crc),
    offsetof(aqd_item, payload),
};
