# crc32/wide.h aqd_sum_wide: 64 bytes where fewer are left
s/for (; whole - at >= 64; at += 64)/for (; at < whole; at += 64)/
