# record.h aqd_is_valid: a header's length is not held against the tail
s/ && h->granules <= tail - position$//
