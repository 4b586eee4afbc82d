# reader.c reader_deliver: the length is not held against the buffer
s/if (AQD_UNLIKELY(cap < h.len))/if (0)/
