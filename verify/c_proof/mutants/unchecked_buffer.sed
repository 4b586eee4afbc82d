# reader.c deliver: the length is not held against the buffer
s/if (UNLIKELY(cap < h.len))/if (0)/
