//! Records over memory: framing and checksums on their way between private bytes and a segment.
//!
//! Where the memory can lend its bytes as they lie and the processor can multiply without carries,
//! a copy computes the checksum on the way; otherwise everything goes by words. Both give the same
//! bytes and the same answers.

use crate::crc::Crc;
use crate::crc::clmul::{LOADED_BYTES, STORED_BYTES, prefetch};
use crate::layout::GRANULE_BYTES;
use crate::memory::{Memory, MemoryMut};
use crate::record::{Framing, Header, HeaderCrc, Record};

#[cfg(test)]
mod tests;

/// Says that the header at byte offset `at` and what follows it will be read soon.
#[inline]
pub(crate) fn expect_record<M: Memory + ?Sized>(memory: &M, at: usize) {
    if let Some(span) = memory.span(at, GRANULE_BYTES) {
        prefetch(span);
    }
}

/// Copies `into.len()` bytes from byte offset `at`, a multiple of 32, and appends them to `crc`.
#[inline]
pub fn read_with_crc<M: Memory + ?Sized>(memory: &M, at: usize, into: &mut [u8], crc: &mut Crc) {
    if let Some((clmul, state)) = crc.clmul_mut()
        && let Some(span) = memory.span(at, into.len().next_multiple_of(LOADED_BYTES))
        && let Some(after) = clmul.copy_out(*state, span, into)
    {
        *state = after;
        return;
    }
    memory.read(at, into);
    crc.update(into);
}

/// Copies the record header at byte offset `at`, a multiple of 32, once, and checks the copy; gives
/// it with its CRC.
///
/// # Errors
/// It is not a header written for this ring and this position.
#[inline]
pub fn read_header<M: Memory + ?Sized>(
    memory: &M,
    at: usize,
    framing: &Framing,
    position: u32,
) -> Result<(Header, u32), HeaderCrc> {
    if let Some((clmul, state)) = framing.clmul()
        && let Some(span) = memory.span(at, GRANULE_BYTES)
        && let Some((numbers, computed)) = clmul.read_header(state, position, span)
    {
        #[allow(clippy::cast_possible_truncation, reason = "the upper half")]
        let stored = (numbers[3] >> 32) as u32;
        return if stored == computed {
            Ok((Header::of_numbers(numbers), stored))
        } else {
            Err(HeaderCrc { stored, computed })
        };
    }
    let mut bytes = [0; GRANULE_BYTES];
    memory.read(at, &mut bytes);
    framing.decode_with_crc(position, &bytes)
}

/// Copies the payload of the record at byte offset `at`, a multiple of 32, to the start of `into`
/// and describes it, if it is what a reader mostly finds: DATA without attributes, with sequence
/// number `seq`, at `position`, whose payload fits, and both CRCs right. `None`: it is not, or
/// so long that one pass does not pay, and what `into` holds means nothing; [`read_header`] and
/// [`read_with_crc`] say more.
#[inline]
pub fn read_record<M: Memory + ?Sized>(
    memory: &M,
    at: usize,
    framing: &Framing,
    position: u32,
    seq: u64,
    into: &mut [u8],
) -> Option<Record> {
    if let Some((clmul, state)) = framing.clmul()
        && let Some(span) =
            memory.span(at, GRANULE_BYTES + into.len().next_multiple_of(LOADED_BYTES))
    {
        let (first, timestamp_ns) = clmul.copy_record(state, position, seq, span, into)?;
        let header = Header::of_numbers([first.get(), seq, timestamp_ns, 0]);
        return Some(header.plain_record_at(position));
    }
    let (header, _) = read_header(memory, at, framing, position).ok()?;
    let payload = into.get_mut(..header.len as usize)?;
    if !header.is_plain_data() || header.seq != seq {
        return None;
    }
    let mut crc = framing.empty_crc();
    read_with_crc(memory, at + GRANULE_BYTES, payload, &mut crc);
    (crc.finalize() == header.payload_crc).then(|| header.plain_record_at(position))
}

/// Copies `bytes` to byte offset `at`, a multiple of 8, and appends them to `crc`.
#[inline]
pub fn write_with_crc<M: MemoryMut + ?Sized>(memory: &M, at: usize, bytes: &[u8], crc: &mut Crc) {
    if let Some((clmul, state)) = crc.clmul_mut()
        && let Some(span) = memory.span(at, bytes.len().next_multiple_of(STORED_BYTES))
        && let Some(after) = clmul.copy_in(*state, bytes, span)
    {
        *state = after;
        return;
    }
    memory.write(at, bytes);
    crc.update(bytes);
}

/// Writes `header`, which is at `position`, with its CRC to byte offset `at`, a multiple of 32.
#[inline]
pub fn write_header<M: MemoryMut + ?Sized>(
    memory: &M,
    at: usize,
    framing: &Framing,
    position: u32,
    header: &Header,
) {
    if let Some((clmul, state)) = framing.clmul()
        && let Some(span) = memory.span(at, GRANULE_BYTES)
        && clmul.write_header(state, position, header.first_numbers(), header.payload_crc, span)
    {
        return;
    }
    memory.write(at, &framing.encode(position, header));
}

/// Writes a whole record that is at `position` to byte offset `at`, a multiple of 32: its payload,
/// and before it `header` with the CRC of the payload in it.
#[inline]
pub fn write_record<M: MemoryMut + ?Sized>(
    memory: &M,
    at: usize,
    framing: &Framing,
    position: u32,
    header: Header,
    payload: &[u8],
) {
    if let Some((clmul, state)) = framing.clmul()
        && let Some(span) =
            memory.span(at, GRANULE_BYTES + payload.len().next_multiple_of(STORED_BYTES))
        && clmul.write_record(state, position, header.first_numbers(), payload, span)
    {
        return;
    }
    let mut crc = framing.empty_crc();
    write_with_crc(memory, at + GRANULE_BYTES, payload, &mut crc);
    let header = Header { payload_crc: crc.finalize(), ..header };
    write_header(memory, at, framing, position, &header);
}
