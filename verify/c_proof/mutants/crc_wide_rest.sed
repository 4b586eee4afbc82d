# crc32/wide.h aqd_finish_64: 64 bytes where fewer are left
s/for (; len - at >= 64; at += 64)/for (; len - at >= 32; at += 64)/
