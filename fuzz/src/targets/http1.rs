//! `http1`: any cut of the bytes gives the same records, attributes and answers, and hyper finds
//! the same records and attributes in them, up to where the codec refuses.

use std::sync::Arc;

use aqueduct::codec::Keep;
use aqueduct::codec::http1::{Config, Http1, Origin};
use aqueduct::codec::trial::{End, http, hyper};
use aqueduct_core::AttributeBlock;

use crate::conversation::{Way, hear};
use crate::input::Input;

/// The headers that an address may keep here, the more of them the more often they come.
const KEPT: [&str; 5] = ["x", "host", "content-type", "content-length", "traceparent"];

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let max_header_bytes = 256 + usize::from(input.u8());
    let choices = input.u8();
    let http2 = choices & 1 == 1;
    let kept = KEPT.iter().enumerate().filter(|(bit, _)| choices >> (bit + 1) & 1 == 1);
    let config = Arc::new(Config {
        max_header_bytes,
        max_headers: 8,
        max_batch_bytes: 4096,
        origins: Origin::new("https://good.example").into_iter().collect(),
        http2,
        h2c: http2,
        routes: None,
        guard: None,
        keep: Keep::new(kept.map(|(_, name)| (*name).to_owned()).collect()),
    });
    let way = Way::take(&mut input);
    let bytes = input.rest();
    let heard = hear(|| Http1::new(Arc::clone(&config)), bytes, &way);
    let blocks = heard.attributes.iter().map(|block| attributes(block));
    let ours: Vec<_> = heard.records.iter().cloned().zip(blocks).collect();
    let theirs = http::with_attributes(&hyper::requests(bytes), &config);
    assert!(theirs.starts_with(&ours), "{heard:?}, hyper's {theirs:?}");
    let refused = heard.answers.windows(10).any(|start| start == b"HTTP/1.1 4");
    if heard.end == End::Input && !refused {
        assert_eq!(ours, theirs);
    }
}

/// What a block has, by name, those of one name in their order.
fn attributes(block: &[u8]) -> Vec<http::Attribute> {
    let block = AttributeBlock::from_bytes(block).expect("the codec wrote it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found = block.attributes().map(|found| (text(found.name), found.value.to_vec()));
    let mut found: Vec<_> = found.collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}
