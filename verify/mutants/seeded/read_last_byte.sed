# core/src/crc/clmul/copy.rs: state_machine damage: read_record: the last byte of a payload is not copied out
s/unsafe { copy_few(bytes.as_ptr(), into, n) };/unsafe { copy_few(bytes.as_ptr(), into, n - 1) };/
