# crc32/pairs.h aqd_finish_32: 32 bytes where fewer are left
s/for (; len - at >= 32; at += 32)/for (; len - at >= 16; at += 32)/
