# record.h aqd_is_valid: a header's length is not held against the end of the ring
/&& h->granules <= v->capacity - /d
