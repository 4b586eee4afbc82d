# crc32/arm_words.h aqd_state_from: a word where fewer bytes are left
/aqd_state_from/,/^}/s/for (; len - at >= 8; at += 8)/for (; len - at >= 4; at += 8)/
