# core/src/crc/clmul/header.rs: damage: read_record: a record of another number is taken for the expected one
s/ || _mm_extract_epi64(self.low, 1) as u64 != seq {/ {/
