# reader.c load_header: a header's length is not held against the end of the ring
s/&& h->granules <= r->capacity - index_of(r, position) &&/\&\&/
