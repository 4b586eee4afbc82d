//! `embedded_io::Write` for grants: drivers and formatters that write bytes write into a record.

use embedded_io::{Error, ErrorKind, ErrorType, Write};

use crate::memory::MemoryMut;
use crate::producer::{Grant, GrantOverflow};
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
use crate::shared::{Backend, SharedGrant};

impl Error for GrantOverflow {
    fn kind(&self) -> ErrorKind {
        ErrorKind::WriteZero
    }
}

impl<M, C, const READERS: usize> ErrorType for Grant<'_, M, C, READERS> {
    type Error = GrantOverflow;
}

/// `write` takes what fits and fails when nothing does; `write_all` takes all or nothing. There is
/// nothing to flush.
impl<M: MemoryMut, C: MemoryMut, const READERS: usize> Write for Grant<'_, M, C, READERS> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, GrantOverflow> {
        let some = some_of(bytes, self.remaining());
        Grant::write(self, some).map(|()| some.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), GrantOverflow> {
        Grant::write(self, bytes)
    }

    fn flush(&mut self) -> Result<(), GrantOverflow> {
        Ok(())
    }
}

#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
impl<M, C, B, const CLAIMS: usize, const READERS: usize> ErrorType
    for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    type Error = GrantOverflow;
}

/// As for [`Grant`].
#[cfg(any(target_has_atomic = "32", feature = "portable-atomic"))]
impl<M, C, B, const CLAIMS: usize, const READERS: usize> Write
    for SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    fn write(&mut self, bytes: &[u8]) -> Result<usize, GrantOverflow> {
        let some = some_of(bytes, self.remaining());
        SharedGrant::write(self, some).map(|()| some.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), GrantOverflow> {
        SharedGrant::write(self, bytes)
    }

    fn flush(&mut self) -> Result<(), GrantOverflow> {
        Ok(())
    }
}

/// Returns as many of the bytes as fit; all of them, which do not, if there is no room.
fn some_of(bytes: &[u8], room: usize) -> &[u8] {
    if room == 0 { bytes } else { bytes.get(..room).unwrap_or(bytes) }
}
