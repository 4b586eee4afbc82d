# load.h aqd_load_header: one word more than a header has
s/i < 4; i++/i < 5; i++/
