# reader.c load_header: a header's length is not held against the tail
s/ && h->granules <= r->tail - position$//
