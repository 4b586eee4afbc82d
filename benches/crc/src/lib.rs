//! Libraries that compute a CRC-32, each restricted to the instructions of one path of the core.
//!
//! crc32fast is restricted by the build, which `benches/crc/run` and `benches/paths` do once per
//! path; zlib-ng and ISA-L by the function that is called; crc-fast asks the processor by itself
//! and is only measured by AVX-512.

use aqueduct_core::internals::Path;

/// A CRC of bytes.
pub type Compute = Box<dyn Fn(&[u8]) -> u32>;

// Inside libz-ng.a, which dispatches to them, and of libisal.so.
unsafe extern "C" {
    fn crc32_pclmulqdq(crc: u32, bytes: *const u8, len: usize) -> u32;
    fn crc32_vpclmulqdq(crc: u32, bytes: *const u8, len: usize) -> u32;
}
#[link(name = "isal")]
unsafe extern "C" {
    fn crc32_gzip_refl_by8(crc: u32, bytes: *const u8, len: u64) -> u32;
    fn crc32_gzip_refl_by8_02(crc: u32, bytes: *const u8, len: u64) -> u32;
    fn crc32_gzip_refl_by16_10(crc: u32, bytes: *const u8, len: u64) -> u32;
}

/// The path of this name, if it is one that libraries can be restricted to.
#[must_use]
pub fn path_named(name: &str) -> Option<Path> {
    let path = Path::ALL.into_iter().find(|path| path.name() == name);
    path.filter(|path| matches!(path, Path::Pclmul | Path::Avx2 | Path::Avx512))
}

/// The libraries that have something for this path.
///
/// # Panics
/// zlib-ng is not linked.
#[must_use]
pub fn libraries(path: Path) -> Vec<(&'static str, Compute)> {
    // SAFETY: gives a constant. That it is called links zlib-ng.
    assert!(!unsafe { libz_ng_sys::zlibVersion() }.is_null());
    let mut all = vec![("crc32fast", Box::new(crc32fast::hash) as Compute)];
    match path {
        Path::Avx512 => {
            all.push(("crc-fast", Box::new(crc_fast::crc32_iso_hdlc)));
            all.push((
                "zlib-ng",
                Box::new(|bytes| {
                    // SAFETY: reads a slice; the processor has the instructions.
                    unsafe { crc32_vpclmulqdq(0, bytes.as_ptr(), bytes.len()) }
                }),
            ));
            all.push((
                "ISA-L",
                Box::new(|bytes| {
                    // SAFETY: as above.
                    unsafe { crc32_gzip_refl_by16_10(0, bytes.as_ptr(), bytes.len() as u64) }
                }),
            ));
            return all;
        }
        Path::Avx2 => all.push((
            "ISA-L",
            Box::new(|bytes| {
                // SAFETY: as above.
                unsafe { crc32_gzip_refl_by8_02(0, bytes.as_ptr(), bytes.len() as u64) }
            }),
        )),
        _ => all.push((
            "ISA-L",
            Box::new(|bytes| {
                // SAFETY: as above.
                unsafe { crc32_gzip_refl_by8(0, bytes.as_ptr(), bytes.len() as u64) }
            }),
        )),
    }
    all.push((
        "zlib-ng",
        Box::new(|bytes| {
            // SAFETY: as above.
            unsafe { crc32_pclmulqdq(0, bytes.as_ptr(), bytes.len()) }
        }),
    ));
    all
}
