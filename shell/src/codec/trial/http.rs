//! Records of HTTP requests by the plainest reading of what hyper found.

use super::hyper::Seen;
use super::{Kept, MAX_PAYLOADS, RINGS};
use crate::codec::http1::Config;

/// Bytes of the data area of the rings of a [`Trial`](super::Trial).
const CAPACITY: usize = 1 << 14;

/// The name and value of what is kept with a record.
pub type Attribute = (String, Vec<u8>);

/// The records that one request brings: none if it is not taken, and one connection after the
/// other, those of all its requests.
pub fn records(requests: &[Seen], config: &Config) -> Vec<Kept> {
    with_attributes(requests, config).into_iter().map(|(record, _)| record).collect()
}

/// The same, each with the headers that are kept with it, by name, those of one name in their
/// order. Of what an address can keep it knows headers only.
pub fn with_attributes(requests: &[Seen], config: &Config) -> Vec<(Kept, Vec<Attribute>)> {
    let of_each = requests.iter().filter_map(|seen| {
        let attributes = attributes(seen, config);
        let records = of_request(seen, config, block_bytes(&attributes)?)?;
        Some(records.into_iter().map(move |record| (record, attributes.clone())))
    });
    of_each.flatten().collect()
}

fn attributes(seen: &Seen, config: &Config) -> Vec<Attribute> {
    let of_name = |name: &str| {
        let values = seen.fields.get_all(name).iter();
        values.map(|value| (name.to_owned(), value.as_bytes().to_vec())).collect::<Vec<_>>()
    };
    let mut found: Vec<_> = config.keep.headers().flat_map(of_name).collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Bytes of the block that has them (`core/ABI.md` §3.1); `None` if none has the room.
fn block_bytes(attributes: &[Attribute]) -> Option<usize> {
    let entries: usize = attributes.iter().map(|(name, value)| 3 + name.len() + value.len()).sum();
    let bytes = if attributes.is_empty() { 0 } else { (4 + entries).next_multiple_of(16) };
    (bytes <= 4080).then_some(bytes)
}

fn of_request(seen: &Seen, config: &Config, block_bytes: usize) -> Option<Vec<Kept>> {
    let name = seen.path.strip_prefix("/v1/rings/")?.strip_suffix("/records")?;
    let ring = RINGS.iter().position(|ring| *ring == name)?;
    let coding = seen.fields.get("content-encoding").map_or(&b""[..], |value| value.as_bytes());
    let has_coding = !coding.eq_ignore_ascii_case(b"identity") && !coding.is_empty();
    let is_foreign = seen.fields.contains_key("origin")
        && !config.origins.iter().any(|origin| seen.only("origin") == Some(origin.value()));
    if seen.method != "POST" || has_coding || is_foreign {
        return None;
    }
    let tag = if seen.fields.contains_key("aqueduct-type") {
        let value = std::str::from_utf8(seen.only("aqueduct-type")?).ok()?;
        Some(value.parse().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()))?)
    } else {
        None
    };
    let media_type = seen.only("content-type").unwrap_or(b"");
    let media_type = String::from_utf8_lossy(media_type).to_ascii_lowercase();
    let payloads = match media_type.split(';').next().unwrap_or("").trim() {
        "application/x-ndjson" => lines(&seen.body, tag),
        "application/vnd.aqueduct.records" if tag.is_some() => return None,
        "application/vnd.aqueduct.records" => counted(&seen.body)?,
        "application/vnd.aqueduct.records+json" => elements(&seen.body, tag)?,
        _ => vec![(tag.unwrap_or(0), seen.body.clone())],
    };
    let granules = |payload: &[u8]| 1 + (payload.len() + block_bytes).div_ceil(32);
    let total: usize = payloads.iter().map(|(_, payload)| granules(payload)).sum();
    let largest = payloads.iter().map(|(_, payload)| granules(payload)).max()?;
    let limit = MAX_PAYLOADS[ring] as usize;
    let fits = total + largest <= CAPACITY / 32;
    let has_room = |payload: &[u8]| payload.len() + block_bytes <= limit;
    (fits && payloads.iter().all(|(_, payload)| has_room(payload))).then(|| {
        let ring = u16::try_from(ring).unwrap_or(u16::MAX);
        payloads.into_iter().map(|(type_tag, payload)| Kept { ring, type_tag, payload }).collect()
    })
}

fn lines(body: &[u8], tag: Option<u16>) -> Vec<(u16, Vec<u8>)> {
    let lines = body.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let records = lines.filter(|line| !line.is_empty());
    records.map(|line| (tag.unwrap_or(0), line.to_vec())).collect()
}

fn counted(mut body: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut records = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (tag, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (payload, rest) = rest.split_at_checked(length)?;
        records.push((u16::from_le_bytes(*tag), payload.to_vec()));
        body = rest;
    }
    Some(records)
}

fn elements(body: &[u8], tag: Option<u16>) -> Option<Vec<(u16, Vec<u8>)>> {
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).ok()?;
    let text = |element: &serde_json::value::RawValue| element.get().as_bytes().to_vec();
    Some(elements.into_iter().map(|element| (tag.unwrap_or(0), text(element))).collect())
}
