# record_load.c load_record_wide: the length is not held against what may be copied
s/ || len > most || / || /
