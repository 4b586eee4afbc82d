//! What the processor has, and the operating system keeps.

#[cfg(not(miri))]
use core::arch::asm;
#[cfg(not(miri))]
use core::arch::x86_64::{__cpuid, __cpuid_count};

use super::Width;

/// The widest registers there are, if any.
pub(super) fn widest() -> Option<Width> {
    let features = Features::ask();
    [Width::Four, Width::Two, Width::One].into_iter().find(|&width| features.allow(width))
}

/// Whether there are registers of this width.
pub(super) fn has(width: Width) -> bool {
    Features::ask().allow(width)
}

/// Of CPUID, and the registers that the operating system keeps.
struct Features {
    leaf_1_ecx: u32,
    leaf_7_ebx: u32,
    leaf_7_ecx: u32,
    kept: u32,
}

impl Features {
    /// Miri's processor has what the compiler was told.
    #[cfg(miri)]
    const fn ask() -> Self {
        let wide = cfg!(all(target_feature = "avx512vl", target_feature = "vpclmulqdq"));
        let pairs = wide || cfg!(all(target_feature = "avx2", target_feature = "vpclmulqdq"));
        Self {
            leaf_1_ecx: u32::MAX,
            leaf_7_ebx: if wide { u32::MAX } else { !(1 << 16) },
            leaf_7_ecx: if pairs { u32::MAX } else { 0 },
            kept: u32::MAX,
        }
    }

    #[cfg(not(miri))]
    #[allow(unused_unsafe, reason = "`__cpuid` is safe from Rust 1.94 on")]
    fn ask() -> Self {
        const OSXSAVE: u32 = 1 << 27;
        // SAFETY: every x86-64 processor has the instruction.
        let (highest, leaf_1) = unsafe { (__cpuid(0).eax, __cpuid(1)) };
        let leaf_7 = (highest >= 7).then(|| {
            // SAFETY: as above.
            unsafe { __cpuid_count(7, 0) }
        });
        let kept = if leaf_1.ecx & OSXSAVE == 0 {
            0
        } else {
            // SAFETY: `OSXSAVE` says that the instruction may be used.
            unsafe { registers_kept() }
        };
        Self {
            leaf_1_ecx: leaf_1.ecx,
            leaf_7_ebx: leaf_7.map_or(0, |leaf| leaf.ebx),
            leaf_7_ecx: leaf_7.map_or(0, |leaf| leaf.ecx),
            kept,
        }
    }

    const fn allow(&self, width: Width) -> bool {
        const PCLMULQDQ_SSSE3_SSE4_1: u32 = 1 << 1 | 1 << 9 | 1 << 19;
        const AVX: u32 = 1 << 28;
        const AVX2: u32 = 1 << 5;
        const AVX512F_AVX512VL: u32 = 1 << 16 | 1 << 31;
        const VPCLMULQDQ: u32 = 1 << 10;
        const XMM_YMM: u32 = 0b0000_0110;
        const XMM_YMM_MASKS_ZMM: u32 = 0b1110_0110;
        let one = all(self.leaf_1_ecx, PCLMULQDQ_SSSE3_SSE4_1);
        let two = one
            && all(self.leaf_1_ecx, AVX)
            && all(self.leaf_7_ebx, AVX2)
            && all(self.leaf_7_ecx, VPCLMULQDQ)
            && all(self.kept, XMM_YMM);
        match width {
            Width::One => one,
            Width::Two => two,
            Width::Four => {
                two && all(self.leaf_7_ebx, AVX512F_AVX512VL) && all(self.kept, XMM_YMM_MASKS_ZMM)
            }
        }
    }
}

const fn all(features: u32, wanted: u32) -> bool {
    features & wanted == wanted
}

/// The states of registers that the operating system keeps.
///
/// # Safety
/// 1. The processor says `OSXSAVE`.
#[cfg(not(miri))]
unsafe fn registers_kept() -> u32 {
    let kept;
    // SAFETY: duty 1; reads a register.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") kept, out("edx") _, options(nomem, nostack, preserves_flags));
    };
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_registers_are_used_only_where_all_their_instructions_are_and_are_kept() {
        let all = Features {
            leaf_1_ecx: u32::MAX,
            leaf_7_ebx: u32::MAX,
            leaf_7_ecx: u32::MAX,
            kept: u32::MAX,
        };
        let widths = |features: &Features| {
            [Width::One, Width::Two, Width::Four].map(|width| features.allow(width))
        };
        assert_eq!(widths(&all), [true, true, true]);
        for bit in [1, 9, 19] {
            let without = Features { leaf_1_ecx: !(1 << bit), ..all };
            assert_eq!(widths(&without), [false, false, false], "{bit}");
        }
        for without in [
            Features { leaf_1_ecx: !(1 << 28), ..all },
            Features { leaf_7_ebx: !(1 << 5), ..all },
            Features { leaf_7_ecx: !(1 << 10), ..all },
            Features { kept: !(1 << 1), ..all },
            Features { kept: !(1 << 2), ..all },
        ] {
            assert_eq!(widths(&without), [true, false, false]);
        }
        for without in [
            Features { leaf_7_ebx: !(1 << 16), ..all },
            Features { leaf_7_ebx: !(1 << 31), ..all },
            Features { kept: !(1 << 5), ..all },
            Features { kept: !(1 << 6), ..all },
            Features { kept: !(1 << 7), ..all },
        ] {
            assert_eq!(widths(&without), [true, true, false]);
        }
    }
}
