# reader.c reader_find: the tail is adopted again for ever
s/aqd_status status = reader_look(r, &looked);/looked = READER_NOT_LOOKED; aqd_status status = reader_look(r, \&looked);/
