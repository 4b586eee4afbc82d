# record.h aqd_granules: a padding record may take no granule, and be read for ever
s/return 1 + len/return len/
