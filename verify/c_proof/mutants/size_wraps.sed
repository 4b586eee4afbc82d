# ring.c check_ring: the size of the ring is computed in 32 bits
s/(uint64_t)capacity \* AQD_GRANULE_BYTES/capacity * AQD_GRANULE_BYTES/
