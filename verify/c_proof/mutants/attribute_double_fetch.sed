# attributes.c aqd_next_attribute: the length of a name is loaded again after it was checked
s/attribute->name_bytes = name_bytes;/attribute->name_bytes = aqd_load_byte(block + from - BLOCK_ENTRY_BYTES);/
