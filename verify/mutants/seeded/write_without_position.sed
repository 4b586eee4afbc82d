# core/src/crc/clmul/mod.rs: state_machine damage: write_record: the CRC of a header does not cover its position
/fn write_record/,/^    }/s/state ^ position/state/
