/* What the differential target needs of the C reader beside its functions: its size, and fields that its header calls private. */
#include "aqueduct/reader.h"

size_t aqd_fuzz_reader_size(void) { return sizeof(aqd_reader); }

uint64_t aqd_fuzz_position(const aqd_reader *r) { return r->position; }

uint32_t aqd_fuzz_released(const aqd_reader *r)
{
    return __atomic_load_n((const uint32_t *)(const void *)(r->cursor + AQD_CURSOR_CURSOR), __ATOMIC_RELAXED);
}
