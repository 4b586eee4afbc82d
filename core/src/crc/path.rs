//! The ways to compute a CRC, and how one of them is forced.

/// A way to compute a CRC. Which one is taken is chosen by what the processor has, the widest
/// registers first; all give the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Path {
    /// Tables, or what crc32fast has for the processor where nothing here is for it.
    Portable,
    /// CRC32, three side by side: AArch64.
    Crc32,
    /// PMULL beside CRC32: AArch64.
    Pmull,
    /// The same with EOR3, of SHA3.
    Eor3,
    /// PCLMULQDQ: x86-64 by 16 bytes.
    Pclmul,
    /// VPCLMULQDQ and AVX2: by 32 bytes.
    Avx2,
    /// VPCLMULQDQ and AVX-512: by 64 bytes.
    Avx512,
}

impl Path {
    /// Every path, on whatever processor.
    pub const ALL: [Self; 7] = [
        Self::Portable,
        Self::Crc32,
        Self::Pmull,
        Self::Eor3,
        Self::Pclmul,
        Self::Avx2,
        Self::Avx512,
    ];

    /// As `AQUEDUCT_CRC_PATH` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Crc32 => "crc32",
            Self::Pmull => "pmull",
            Self::Eor3 => "eor3",
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
    use std::ffi::OsString;
    use std::sync::OnceLock;

    use super::Path;
    use crate::crc::Crc;

    std::thread_local! {
        static HERE: Cell<Option<Path>> = const { Cell::new(None) };
    }

    impl Path {
        /// Returns the path that this thread was given, or that the environment variable
        /// `AQUEDUCT_CRC_PATH` names: for tests and benches, which must run those too that this
        /// processor would not choose. A library does not fail for a variable: a name that
        /// [`asked`](Self::asked) refuses is as none.
        #[must_use]
        pub fn forced() -> Option<Self> {
            static EVERYWHERE: OnceLock<Option<Path>> = OnceLock::new();
            HERE.get().or_else(|| *EVERYWHERE.get_or_init(|| Self::asked().unwrap_or_default()))
        }

        /// Returns the path that `AQUEDUCT_CRC_PATH` names, for programs that can say that it names
        /// none.
        ///
        /// # Errors
        /// What the variable says is no path, or one that this processor does not have.
        pub fn asked() -> Result<Option<Self>, OsString> {
            env::var_os("AQUEDUCT_CRC_PATH").map(Self::named).transpose()
        }

        fn named(name: OsString) -> Result<Self, OsString> {
            let path = Self::ALL.into_iter().find(|path| name == path.name());
            path.filter(|&path| Crc::by(path).is_some()).ok_or(name)
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

        #[test]
        fn name_of_no_path_here_is_refused() {
            for path in Path::ALL {
                let named = Path::named(path.name().into());
                assert_eq!(named.is_ok(), Crc::by(path).is_some(), "{path:?}");
                assert!(named.is_err() || named == Ok(path));
            }
            for name in ["", "AVX2", "avx2 ", "best"] {
                assert_eq!(Path::named(name.into()), Err(name.into()));
            }
        }

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
