# crc32/arm_blocks.h aqd_state_by_blocks: a block of 16 where fewer bytes are left
s/for (; at < whole; at += 16)/for (; at < len; at += 16)/
