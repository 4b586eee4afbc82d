# batch.c keep: the padding between payloads is not held against the buffer
s/(filler < left ? filler : left)/filler/
