# core/src/crc/clmul/header.rs: damage: read_record: the CRC of the payload is not compared, only that of the header
s/if !states != _mm_extract_epi64(self.high, 1) as u64 {/if (!states ^ _mm_extract_epi64(self.high, 1) as u64) >> 32 != 0 {/
