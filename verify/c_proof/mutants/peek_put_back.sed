# batch.c aqd_reader_peek: an empty record is put back two granules
s/r->position -= 1;/r->position -= 2;/
