//! The architectures that a filter can decide for.

use super::names::{self, Call};
use crate::spec;

/// An architecture of the spec as a filter sees it.
#[derive(Debug)]
pub(super) struct Arch {
    /// As the spec writes it.
    pub(super) name: &'static str,
    /// `AUDIT_ARCH_*` of include/uapi/linux/audit.h: what the kernel says in `seccomp_data.arch`.
    pub(super) audit: u32,
    column: usize,
    /// Set in the numbers of the x32 calls, which share the audit word of x86_64.
    marker: u32,
    pub(super) width: Width,
    /// Numbers of `socketcall` and `ipc`, where these exist beside the calls that they bundle.
    bundles: Option<Bundles>,
}

/// How much of an argument a comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Width {
    /// The low 32 bits, also of the value in the profile, as in libseccomp. For x32 as well,
    /// although its registers have 64.
    Half,
    Full,
}

impl Width {
    pub(super) fn mask(self) -> u64 {
        match self {
            Width::Half => u32::MAX.into(),
            Width::Full => u64::MAX,
        }
    }
}

#[derive(Debug)]
struct Bundles {
    socketcall: u32,
    ipc: u32,
}

/// `__X32_SYSCALL_BIT`.
pub(super) const X32_MARKER: u32 = 0x4000_0000;

impl Arch {
    const fn new(name: &'static str, audit: u32, column: usize, width: Width) -> Self {
        Self { name, audit, column, marker: 0, width, bundles: None }
    }

    const fn bundling(mut self, socketcall: u32, ipc: u32) -> Self {
        self.bundles = Some(Bundles { socketcall, ipc });
        self
    }

    /// The number of `call`, or `None` if this architecture does not have it.
    pub(super) fn number(&self, call: &Call) -> Option<u32> {
        call.number(self.column).map(|number| number | self.marker)
    }

    /// The bundle that `call` can come through here, and its number inside.
    pub(super) fn bundle(&self, call: &Call) -> Option<(u32, u8)> {
        let bundles = self.bundles.as_ref()?;
        match (call.socketcall, call.ipc) {
            (0, 0) => None,
            (0, inside) => Some((bundles.ipc, inside)),
            (inside, _) => Some((bundles.socketcall, inside)),
        }
    }

    pub(super) fn is_x32(&self) -> bool {
        self.marker != 0
    }
}

/// The architecture of this machine; a filter always decides for it, listed or not.
pub(super) const NATIVE: &Arch = &X86_64;

static X86_64: Arch = Arch::new("SCMP_ARCH_X86_64", 0xc000_003e, names::X86_64, Width::Full);
static X32: Arch =
    Arch { marker: X32_MARKER, ..Arch::new("SCMP_ARCH_X32", 0xc000_003e, names::X32, Width::Half) };
static X86: Arch =
    Arch::new("SCMP_ARCH_X86", 0x4000_0003, names::X86, Width::Half).bundling(102, 117);
static ARM: Arch = Arch::new("SCMP_ARCH_ARM", 0x4000_0028, names::ARM, Width::Half);
static AARCH64: Arch = Arch::new("SCMP_ARCH_AARCH64", 0xc000_00b7, names::AARCH64, Width::Full);
static RISCV64: Arch = Arch::new("SCMP_ARCH_RISCV64", 0xc000_00f3, names::RISCV64, Width::Full);
static LOONGARCH64: Arch =
    Arch::new("SCMP_ARCH_LOONGARCH64", 0xc000_0102, names::LOONGARCH64, Width::Full);
static PPC64LE: Arch =
    Arch::new("SCMP_ARCH_PPC64LE", 0xc000_0015, names::POWERPC64, Width::Full).bundling(102, 117);
static MIPSEL: Arch =
    Arch::new("SCMP_ARCH_MIPSEL", 0x4000_0008, names::MIPS, Width::Half).bundling(4102, 4117);
static MIPSEL64: Arch = Arch::new("SCMP_ARCH_MIPSEL64", 0xc000_0008, names::MIPS64, Width::Full);

/// The architectures of the spec that [`find`] has.
pub(super) const ALL: [spec::Arch; 10] = [
    spec::Arch::ScmpArchX86_64,
    spec::Arch::ScmpArchX86,
    spec::Arch::ScmpArchX32,
    spec::Arch::ScmpArchAarch64,
    spec::Arch::ScmpArchArm,
    spec::Arch::ScmpArchRiscv64,
    spec::Arch::ScmpArchLoongarch64,
    spec::Arch::ScmpArchPpc64le,
    spec::Arch::ScmpArchMipsel,
    spec::Arch::ScmpArchMipsel64,
];

/// The description of `arch`, or why there is none.
pub(super) fn find(arch: spec::Arch) -> Result<&'static Arch, &'static str> {
    use spec::Arch::*;
    match arch {
        ScmpArchNative => Ok(NATIVE),
        ScmpArchX86_64 => Ok(&X86_64),
        ScmpArchX86 => Ok(&X86),
        ScmpArchX32 => Ok(&X32),
        ScmpArchAarch64 => Ok(&AARCH64),
        ScmpArchArm => Ok(&ARM),
        ScmpArchRiscv64 => Ok(&RISCV64),
        ScmpArchLoongarch64 => Ok(&LOONGARCH64),
        ScmpArchPpc64le => Ok(&PPC64LE),
        ScmpArchMipsel => Ok(&MIPSEL),
        ScmpArchMipsel64 => Ok(&MIPSEL64),
        ScmpArchMipsel64n32 | ScmpArchSh => Err("there is no table of its system calls"),
        ScmpArchMips | ScmpArchMips64 | ScmpArchMips64n32 | ScmpArchPpc | ScmpArchPpc64
        | ScmpArchS390 | ScmpArchS390x | ScmpArchParisc | ScmpArchParisc64 | ScmpArchM68k
        | ScmpArchSheb => Err("its byte order is not this machine's"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_is_found_under_its_name() {
        for arch in ALL {
            assert_eq!(find(arch).expect("listed").name, arch.to_string());
        }
    }

    #[test]
    fn x32_numbers_carry_the_marker() {
        let ioctl = names::find("ioctl").expect("a system call");
        assert_eq!(X32.number(ioctl), Some(0x4000_0000 + 514));
        assert_eq!(X86_64.number(ioctl), Some(16));
    }
}
