# batch.h aqd_batch_keep: the padding between payloads is not held against the buffer
s/(filler < left ? filler : left)/filler/
