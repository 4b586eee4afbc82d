# reader.c reader_deliver: the length is loaded again after it was checked
/aqd_load_bytes_crc(buf, aqd_granule/s/h\.len);/aqd_load_relaxed(aqd_granule(\&r->view, r->position)));/
