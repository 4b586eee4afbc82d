//! The same records over a byte stream: a frame is length (u32), CRC (u32), number (u64), payload.

use std::io::{Read, Write};

use aqueduct_core::payload_crc;

use crate::work::{Payload, check};

const FRAME_HEADER_BYTES: usize = 16;
/// What one `read` may bring.
const READ_BYTES: usize = 64 << 10;

/// Sends numbered records, so many in one `write`.
pub fn send(into: &mut impl Write, records: u64, bytes: usize, batch: u32) {
    let mut payload = Payload::new(bytes);
    let mut frames = Vec::with_capacity((FRAME_HEADER_BYTES + bytes) * batch as usize);
    let mut pending = 0;
    for seq in 0..records {
        let payload = payload.numbered(seq);
        frames.extend_from_slice(&u32::try_from(bytes).expect("a record's length").to_le_bytes());
        frames.extend_from_slice(&payload_crc(payload).to_le_bytes());
        frames.extend_from_slice(&seq.to_le_bytes());
        frames.extend_from_slice(payload);
        pending += 1;
        if pending == batch || seq + 1 == records {
            into.write_all(&frames).expect("the receiver reads on");
            frames.clear();
            pending = 0;
        }
    }
}

/// Receives and checks numbered records. Calls `first` when the first bytes have come.
pub fn receive(from: &mut impl Read, records: u64, bytes: usize, first: impl FnOnce()) {
    let frame_bytes = FRAME_HEADER_BYTES + bytes;
    let mut first = Some(first);
    let mut buf = vec![0; READ_BYTES.max(2 * frame_bytes)];
    let (mut start, mut end, mut seq) = (0, 0, 0);
    while seq < records {
        if end - start < frame_bytes {
            buf.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            let got = from.read(&mut buf[end..]).expect("the sender writes on");
            assert!(got > 0, "the stream ended at record {seq}");
            end += got;
            if let Some(first) = first.take() {
                first();
            }
            continue;
        }
        let (header, payload) = buf[start..start + frame_bytes].split_at(FRAME_HEADER_BYTES);
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        assert!(len as usize == bytes && crc == payload_crc(payload), "frame {seq} is damaged");
        check(payload, seq, bytes);
        start += frame_bytes;
        seq += 1;
    }
}
