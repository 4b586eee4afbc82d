# record.h aqd_is_valid: one granule beyond the end of the ring
s/h->granules <= v->capacity - /h->granules <= v->capacity + 1 - /
