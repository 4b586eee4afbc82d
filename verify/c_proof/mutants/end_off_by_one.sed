# reader.c load_header: one granule beyond the end of the ring
s/r->capacity - index_of(r, position) &&/r->capacity + 1 - index_of(r, position) \&\&/
