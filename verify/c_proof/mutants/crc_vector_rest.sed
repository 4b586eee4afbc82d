# crc32/clmul.c aqd_crc32_update_fast: blocks of 16 where 8 are left
s/for (; len >= 16; at += 16, len -= 16)/for (; len >= 8; at += 16, len -= 16)/
