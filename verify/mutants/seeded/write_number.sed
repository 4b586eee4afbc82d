# core/src/crc/clmul/mod.rs: state_machine damage: write_record: a record gets the number after its own
/fn write_record/,/^    }/s/\[a, seq, timestamp_ns\]: \[u64; 3\],/[a, seq0, timestamp_ns]: [u64; 3],/
/fn write_record/,/^    }/s/if a & u64::from(u32::MAX)/let seq = seq0 + 1;\n        if a \& u64::from(u32::MAX)/
