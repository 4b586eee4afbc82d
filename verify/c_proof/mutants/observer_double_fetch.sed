# observer.c aqd_observer_next: the length is loaded again after it was checked
s/+ AQD_GRANULE_BYTES, h\.len);/+ AQD_GRANULE_BYTES, aqd_load_relaxed(aqd_granule(\&o->view, o->position)));/
