# reader.c load_header: a filler may take no granule, and be read for ever
s|h->granules = 1 + h->len|h->granules = h->len|
