//! Why bytes are not what they should be: the one bit that is wrong, a record of an earlier lap.

/// Returns the place of the single bit whose flip explains these checksums of `bytes` bytes: byte
/// and bit, or `None` if it is not one bit. A bit of the stored checksum itself is not among them.
pub(super) fn flipped(stored: u32, computed: u32, bytes: usize) -> Option<(usize, u32)> {
    let syndrome = stored ^ computed;
    // A bit's effect on the checksum, for each bit of the last byte; then of the byte before, by
    // one more byte of zeros after it.
    let mut effects: [u32; 8] = std::array::from_fn(|bit| through(1 << bit));
    for byte in (0..bytes).rev() {
        if let Some(bit) = effects.iter().position(|&effect| effect == syndrome) {
            return Some((byte, u32::try_from(bit).unwrap_or(0)));
        }
        for effect in &mut effects {
            *effect = through(*effect & 0xFF) ^ (*effect >> 8);
        }
    }
    None
}

/// A byte through the checksum's register: CRC-32/ISO-HDLC, reflected.
const fn through(byte: u32) -> u32 {
    let mut register = byte;
    let mut bit = 0;
    while bit < 8 {
        let carry = register & 1;
        register >>= 1;
        if carry != 0 {
            register ^= 0xEDB8_8320;
        }
        bit += 1;
    }
    register
}

/// Returns the place of the single bit of a record's header whose flip explains these checksums,
/// that of the checksum included: byte and bit.
pub(super) fn record_bit(stored: u32, computed: u32) -> Option<(usize, u32)> {
    if (stored ^ computed).is_power_of_two() {
        let bit = (stored ^ computed).trailing_zeros();
        return Some((28 + bit as usize / 8, bit % 8));
    }
    flipped(stored, computed, 28)
}

/// The field of a record's header that has this byte.
pub(super) const fn record_field(byte: usize) -> &'static str {
    match byte {
        0..4 => "len",
        4 => "kind",
        5 => "flags",
        6..8 => "type",
        8..16 => "seq",
        16..24 => "timestamp_ns",
        24..28 => "payload_crc",
        _ => "header_crc",
    }
}

/// The field of a ring's header that has this byte.
pub(super) const fn ring_field(byte: usize) -> &'static str {
    match byte {
        0..8 => "magic",
        8..10 => "abi_major",
        10..12 => "abi_minor",
        12..16 => "data_offset",
        16..24 => "epoch",
        24..32 => "created_ns",
        32..36 => "capacity",
        36..40 => "max_payload",
        40..44 => "clock_id",
        48..112 => "name",
        124..128 => "header_crc",
        _ => "reserved bytes",
    }
}

/// The field of a cursor segment's identity that has this byte.
pub(super) const fn cursor_field(byte: usize) -> &'static str {
    match byte {
        0..8 => "magic",
        8..10 => "abi_major",
        10..12 => "abi_minor",
        16..24 => "epoch",
        24..56 => "name",
        60..64 => "identity_crc",
        _ => "reserved bytes",
    }
}

/// The field of the header of a journal's segment that has this byte.
pub(super) const fn segment_field(byte: usize) -> &'static str {
    match byte {
        0..8 => "magic",
        8..12 => "version",
        12..16 => "durability",
        16..24 => "serial",
        24..32 => "epoch",
        32..40 => "first_position",
        40..48 => "first_seq",
        48..56 => "created_ns",
        56..72 => "boot",
        72..76 => "capacity",
        76..80 => "clock_id",
        80..144 => "ring",
        188..192 => "header_crc",
        _ => "reserved bytes",
    }
}

/// Puts one wrong bit right, in the bytes that a checksum follows or in that itself.
pub(super) fn mend(bytes: &mut [u8], crc_at: usize) -> Option<(usize, u32)> {
    let stored = u32::from_le_bytes(bytes.get(crc_at..crc_at + 4)?.try_into().ok()?);
    let computed = aqueduct_core::payload_crc(&bytes[..crc_at]);
    let (byte, bit) = match (stored ^ computed).count_ones() {
        0 => return None,
        1 => {
            let bit = (stored ^ computed).trailing_zeros();
            (crc_at + bit as usize / 8, bit % 8)
        }
        _ => flipped(stored, computed, crc_at)?,
    };
    bytes[byte] ^= 1 << bit;
    Some((byte, bit))
}

#[cfg(test)]
mod tests {
    use aqueduct_core::payload_crc;

    use super::*;

    #[test]
    fn every_single_bit_is_found_and_two_are_none() {
        let right: Vec<u8> = (0..100).collect();
        let stored = payload_crc(&right);
        for byte in 0..right.len() {
            for bit in 0..8 {
                let mut wrong = right.clone();
                wrong[byte] ^= 1 << bit;
                assert_eq!(flipped(stored, payload_crc(&wrong), 100), Some((byte, bit)));
                wrong[(byte + 50) % 100] ^= 1;
                assert_eq!(flipped(stored, payload_crc(&wrong), 100), None);
            }
        }
    }

    #[test]
    fn one_wrong_bit_is_put_right_also_in_the_checksum() {
        let mut right = b"some bytes and the checksum of them".to_vec();
        let crc_at = right.len();
        right.extend(payload_crc(&right).to_le_bytes());
        for byte in 0..right.len() {
            let mut wrong = right.clone();
            wrong[byte] ^= 4;
            assert_eq!(mend(&mut wrong, crc_at), Some((byte, 2)));
            assert_eq!(wrong, right);
        }
        assert_eq!(mend(&mut right.clone(), crc_at), None, "nothing is wrong");
    }
}
