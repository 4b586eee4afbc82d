# reader.c reader_resync: the search starts two behind and may miss the tail
s/uint64_t at = r->position + 1;/uint64_t at = r->position + 2;/
