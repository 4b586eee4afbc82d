//! Numbers and escapes as text, appended without allocating.

/// Appends a number in decimal.
pub(super) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a number as 16 hexadecimal digits.
pub(super) fn push_hex(out: &mut Vec<u8>, number: u64) {
    for byte in number.to_be_bytes() {
        for digit in [byte >> 4, byte & 15] {
            out.push(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit });
        }
    }
}

/// Counts the digits of a number in decimal.
pub(super) fn decimal_len(number: u64) -> u64 {
    number.checked_ilog10().map_or(1, |digits| u64::from(digits) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 65_535, 1 << 40, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(decimal_len(number), out.len() as u64);
            out.clear();
            push_hex(&mut out, number);
            assert_eq!(out, format!("{number:016x}").as_bytes());
        }
    }
}
