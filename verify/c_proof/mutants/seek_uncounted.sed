# seek.c aqd_reader_seek: a round that moves nothing is not counted
s/left = moved < left ? left - moved - 1 : 0;/left = moved < left ? left - moved : 0;/
