//! The ways to compute a CRC, and how one of them is forced.

/// A way to compute a CRC. Which one is taken is chosen by what the processor has, the widest
/// registers first; all give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Path {
    /// Tables, or what crc32fast has for the processor where nothing here is for it.
    Portable,
    /// PCLMULQDQ: x86-64 by 16 bytes.
    Pclmul,
    /// VPCLMULQDQ and AVX2: by 32 bytes.
    Avx2,
    /// VPCLMULQDQ and AVX-512: by 64 bytes.
    Avx512,
}

impl Path {
    /// Every path, on whatever processor.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Pclmul, Self::Avx2, Self::Avx512];

    /// As `AQUEDUCT_CRC_PATH` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Pclmul => "pclmul",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

#[cfg(feature = "std")]
mod forced {
    extern crate std;

    use std::cell::Cell;
    use std::env;
    use std::sync::OnceLock;

    use super::Path;

    std::thread_local! {
        static HERE: Cell<Option<Path>> = const { Cell::new(None) };
    }

    impl Path {
        /// The path that this thread was given, or that the environment variable
        /// `AQUEDUCT_CRC_PATH` names: for tests and benches, which must run those too that this
        /// processor would not choose.
        ///
        /// # Panics
        /// The variable names no path.
        #[must_use]
        pub fn forced() -> Option<Self> {
            static EVERYWHERE: OnceLock<Option<Path>> = OnceLock::new();
            HERE.get().or_else(|| {
                *EVERYWHERE.get_or_init(|| {
                    let name = env::var_os("AQUEDUCT_CRC_PATH")?;
                    let path = Self::ALL.into_iter().find(|path| name == path.name());
                    Some(path.unwrap_or_else(|| panic!("AQUEDUCT_CRC_PATH: no path {name:?}")))
                })
            })
        }

        /// Gives this thread a path, or takes it back, for what is created from then on.
        #[doc(hidden)]
        pub fn force_here(path: Option<Self>) {
            HERE.set(path);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::crc::Crc;

        #[test]
        fn forced_path_is_taken_by_what_is_created_on_this_thread_only() {
            for path in Path::ALL.into_iter().filter(|&path| Crc::by(path).is_some()) {
                Path::force_here(Some(path));
                assert_eq!(Crc::new().path(), path);
                let other = std::thread::spawn(|| Crc::new().path()).join().expect("no panic");
                Path::force_here(None);
                assert_eq!(other, Crc::new().path());
            }
        }
    }
}
