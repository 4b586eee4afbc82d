# reader.c find: the tail is adopted again for ever
s/aqd_status status = look(r, &looked);/looked = NOT_LOOKED; aqd_status status = look(r, \&looked);/
