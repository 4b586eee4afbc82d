# crc32/pairs.h aqd_sum_pairs: 32 bytes where 16 are left
s/for (; whole - at >= 32; at += 32)/for (; at < whole; at += 32)/
