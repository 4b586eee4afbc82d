# reader.c reader_next_fast: the length is not held against the buffer
/most = most < cap ? most : cap;/d
