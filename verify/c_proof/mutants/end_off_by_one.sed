# record.h aqd_is_valid: one granule beyond the end of the ring
s/h->granules <= capacity - /h->granules <= capacity + 1 - /
