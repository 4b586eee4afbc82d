# attributes.c aqd_next_attribute: the length of a value is not held against the block
s/ || value_bytes > rest - name_bytes//
