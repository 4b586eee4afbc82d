# lag.c aqd_first_data: the walk stays where it is at a padding record
s/at += h.granules;/at += h.granules - 1;/
