# seek.c aqd_reader_skip_to_latest: the shared tail is adopted without its lap
s/    r->tail = r->position;/    r->tail = shared;/
