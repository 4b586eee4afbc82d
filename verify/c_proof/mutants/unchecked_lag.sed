# reader_tail.h aqd_reader_refresh: a tail further ahead than the ring is long is adopted
s/if (AQD_UNLIKELY(distance > r->view.capacity))/if (0)/
