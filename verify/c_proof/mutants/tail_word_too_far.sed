# load.h aqd_load_bytes: the last pair may lie beyond the end
s/for (; whole - at >= 16; at += 16)/for (; whole - at >= 8; at += 16)/
