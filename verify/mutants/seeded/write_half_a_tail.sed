# core/src/crc/clmul/copy.rs: state_machine damage: write_record: of a last block of 9 to 15 bytes only 8 are stored
/9 to 15 bytes rounded up are 16/,/unsafe/s/store_shared::<VEX>(into, block)/store_shared_half::<VEX>(into, block)/
