//! Values as payloads, pushed by many.

use zerocopy::{Immutable, IntoBytes};

use super::backend::Backend;
use super::{Commit, SharedGrant, SharedProducer};
use crate::memory::MemoryMut;
use crate::producer::{ClaimError, GrantOverflow};
use crate::record::Meta;
use crate::typed::Tagged;

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedProducer<M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Pushes a `bytemuck` value under its type's tag.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_pod<T: Tagged + bytemuck::NoUninit>(
        &self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<Commit, ClaimError> {
        self.push(Meta { type_tag: T::TYPE_TAG, timestamp_ns }, bytemuck::bytes_of(value))
    }

    /// Pushes a `zerocopy` value, sized or not, under its type's tag.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_bytes_of<T: Tagged + IntoBytes + Immutable + ?Sized>(
        &self,
        timestamp_ns: u64,
        value: &T,
    ) -> Result<Commit, ClaimError> {
        self.push(Meta { type_tag: T::TYPE_TAG, timestamp_ns }, value.as_bytes())
    }
}

impl<M, C, B, const CLAIMS: usize, const READERS: usize> SharedGrant<'_, M, C, B, CLAIMS, READERS>
where
    M: MemoryMut + Clone,
    C: MemoryMut,
    B: Backend,
{
    /// Appends a `bytemuck` value to the payload: see
    /// [`Grant::write_pod`](crate::Grant::write_pod).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// ```
    /// use aqueduct_core::typed::Tagged;
    /// use aqueduct_core::{Next, Ring};
    ///
    /// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
    /// # #[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
    /// #[repr(transparent)]
    /// struct Sample(u16);
    /// impl Tagged for Sample {
    ///     const TYPE_TAG: u16 = 7;
    /// }
    ///
    /// let ring = Ring::<1024>::new();
    /// let (shared, [mut reader]) = ring.split_shared::<8>().expect("nobody has split it");
    /// for number in [1, 2] {
    ///     let mut grant = shared.claim(2)?;
    ///     match number {
    ///         1 => grant.write_pod(&Sample(number))?,
    ///         _ => grant.write_bytes_of(&Sample(number))?, // the same by `zerocopy`
    ///     }
    ///     let _ = grant.commit_as::<Sample>(0);
    ///     let Next::Record((_, sample)) = reader.next_pod::<Sample>()? else { panic!("it was published") };
    ///     assert_eq!(sample, Sample(number));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write_pod<T: bytemuck::NoUninit>(&mut self, value: &T) -> Result<(), GrantOverflow> {
        self.write(bytemuck::bytes_of(value))
    }

    /// Appends a `zerocopy` value, sized or not, to the payload.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_bytes_of<T: IntoBytes + Immutable + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), GrantOverflow> {
        self.write(value.as_bytes())
    }

    /// Commits what was written under the tag of a type: [`commit`](Self::commit).
    pub fn commit_as<T: Tagged + ?Sized>(self, timestamp_ns: u64) -> Commit {
        self.commit(Meta { type_tag: T::TYPE_TAG, timestamp_ns })
    }
}
