//! Values as payloads, pushed by many.

use super::backend::Backend;
use super::{Commit, SharedProducer};
use crate::memory::MemoryMut;
use crate::producer::ClaimError;
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
}
