# batch.h aqd_batch_keep: the padding between payloads is not held against the buffer
s/(padding < left ? padding : left)/padding/
