//! `http1`: any cut of the bytes gives the same records and answers, and hyper finds the same
//! records in them, up to where the codec refuses.

use std::sync::Arc;

use aqueduct::codec::Keep;
use aqueduct::codec::http1::{Config, Http1, Origin};
use aqueduct::codec::trial::{End, http, hyper};

use crate::conversation::{Way, hear};
use crate::input::Input;

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let max_header_bytes = 256 + usize::from(input.u8());
    let http2 = input.below(2) == 1;
    let config = Arc::new(Config {
        max_header_bytes,
        max_headers: 8,
        max_batch_bytes: 4096,
        origins: Origin::new("https://good.example").into_iter().collect(),
        http2,
        h2c: http2,
        routes: None,
        guard: None,
        keep: Keep::default(),
    });
    let way = Way::take(&mut input);
    let bytes = input.rest();
    let heard = hear(|| Http1::new(Arc::clone(&config)), bytes, &way);
    let theirs = http::records(&hyper::requests(bytes), &config);
    assert!(theirs.starts_with(&heard.records), "{heard:?}, hyper's {theirs:?}");
    let refused = heard.answers.windows(10).any(|start| start == b"HTTP/1.1 4");
    if heard.end == End::Input && !refused {
        assert_eq!(heard.records, theirs);
    }
}
