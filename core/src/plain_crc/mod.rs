//! The CRC without the processor's multiplication: by the library crc32fast where there is an
//! operating system; on bare metal by a small table, or by what the firmware brings.
//!
//! Features choose among the bare-metal ways: a table of 1 KiB without any, of 64 bytes with
//! `crc-small`, the firmware's own function with `crc-hook`, which wins over `crc-small`.

#[cfg(not(target_os = "none"))]
mod library;
#[cfg(not(target_os = "none"))]
pub(crate) use self::library::Plain;

#[cfg(any(target_os = "none", test))]
mod state;
#[cfg(target_os = "none")]
pub(crate) use self::state::Plain;

#[cfg(any(test, all(target_os = "none", not(feature = "crc-hook"))))]
mod table;

#[cfg(all(target_os = "none", feature = "crc-hook"))]
#[allow(unsafe_code, reason = "a function that the firmware defines; its macro checks the type")]
mod hook;

/// The CRC-32/ISO-HDLC of bytes, without asking the processor about multiplication: of a header
/// that is read once.
#[inline]
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    let mut plain = Plain::new();
    plain.update(bytes);
    plain.finalize()
}

/// Gives the core the firmware's own CRC, by a hardware unit, say: with the feature `crc-hook`, on
/// targets without an operating system, a program calls this macro once, with a function or a path
/// to one.
///
/// The function appends bytes to the state of a CRC-32/ISO-HDLC and returns the state after them:
/// all ones before the first byte, the complement of the CRC after the last. It is called wherever
/// a ring is used, so where interrupt handlers use rings too, it must guard the unit from them.
///
/// ```
/// fn update(mut state: u32, bytes: &[u8]) -> u32 {
///     for &byte in bytes {
///         state ^= u32::from(byte); // a hardware unit takes it from here
///         for _ in 0..8 {
///             state = if state & 1 == 1 { state >> 1 ^ 0xEDB8_8320 } else { state >> 1 };
///         }
///     }
///     state
/// }
///
/// aqueduct_core::crc32_hook!(update);
/// # assert_eq!(!update(u32::MAX, b"123456789"), 0xCBF4_3926);
/// ```
#[macro_export]
macro_rules! crc32_hook {
    ($update:path) => {
        const _: () = {
            // SAFETY: the name is this crate's own, and the type is the one that it declares.
            #[unsafe(no_mangle)]
            fn _aqueduct_crc32_update(state: u32, bytes: &[u8]) -> u32 {
                let update: fn(u32, &[u8]) -> u32 = $update;
                update(state, bytes)
            }
        };
    };
}
