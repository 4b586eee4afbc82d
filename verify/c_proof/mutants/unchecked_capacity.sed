# record.h aqd_is_valid: a header's length is not held against the end of the ring
s/&& h->granules <= capacity - ((uint32_t)position & (capacity - 1)) &&/\&\&/
