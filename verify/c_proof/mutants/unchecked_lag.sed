# reader.c refresh: a tail further ahead than the ring is long is adopted
s/if (UNLIKELY(distance > r->capacity))/if (0)/
