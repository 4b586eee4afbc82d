# core/src/crc/clmul/header.rs: damage: read_record: the CRC of the header is not compared, only that of the payload
s/if !states != _mm_extract_epi64(self.high, 1) as u64 {/if (!states ^ _mm_extract_epi64(self.high, 1) as u64) as u32 != 0 {/
