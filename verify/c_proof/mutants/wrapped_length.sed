# record.h aqd_granules: the length is rounded up in 32 bits, and wraps
s|return 1 + len / .*; }|return 1 + (len + 31) / AQD_GRANULE_BYTES; }|
