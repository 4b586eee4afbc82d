# crc32/table.c aqd_crc32_update_table: one byte more than there is
s/for (; len > 0; at++, len--)/for (; len + 1 > 0; at++, len--)/
