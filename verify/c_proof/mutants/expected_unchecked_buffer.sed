# reader.c take_expected: the length is not held against the buffer
/most = most < cap ? most : cap;/d
