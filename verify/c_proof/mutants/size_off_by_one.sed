# ring.c check_ring: a mapping that is one byte short passes
s/return ring_bytes < data_offset/return ring_bytes + 1 < data_offset/
