# crc32/copy.h aqd_pass_tail: a second word where there is one
/aqd_pass_tail/,/^}/s/if (n > 8) {/if (n > 0) {/
