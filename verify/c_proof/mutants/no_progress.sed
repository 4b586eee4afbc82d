# record.h aqd_granules: a filler may take no granule, and be read for ever
s/return 1 + len/return len/
