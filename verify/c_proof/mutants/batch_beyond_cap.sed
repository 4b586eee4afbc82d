# batch.c aqd_reader_next_batch: each record of a batch may take the whole buffer
s/aqd_reader_next(r, bytes + at, cap - at,/aqd_reader_next(r, bytes + at, cap,/
