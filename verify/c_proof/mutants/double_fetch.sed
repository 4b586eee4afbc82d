# reader.c deliver: the length is loaded again after it was checked
/aqd_load_bytes_crc(buf, granule/s/h\.len);/aqd_load_relaxed(granule(r, r->position)));/
