# crc32/blocks.h aqd_finish: a block of 16 where fewer bytes are left
s/for (; at < whole; at += 16)/for (; at < len; at += 16)/
