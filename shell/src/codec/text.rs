//! Numbers and escapes as text, appended without allocating.

/// The numbers from 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// Appends a number in decimal.
pub(super) fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
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

/// Reads a whole decimal number: digits only, nothing before or after.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Reads up to 16 hexadecimal digits; whatever is no digit counts as 0.
pub(super) fn hexadecimal(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| {
        number << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0))
    })
}

/// Reads a type tag: a decimal number from 0 to 65535.
pub(super) fn type_tag(text: &[u8]) -> Option<u16> {
    u16::try_from(decimal(text)?).ok()
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
            assert_eq!(decimal(&out), Some(number));
            out.clear();
            push_hex(&mut out, number);
            assert_eq!(out, format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn only_digits_that_fit_are_a_number() {
        for text in ["", "+1", "-1", " 1", "1 ", "0x1", "1.0", "18446744073709551616"] {
            assert_eq!(decimal(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(type_tag(b"65535"), Some(65_535));
        assert_eq!(type_tag(b"65536"), None);
    }
}
