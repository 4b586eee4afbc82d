# record_load.c load_record_by_16: the length is not held against what may be copied
s/if (len > most\b/if (len == SIZE_MAX/
