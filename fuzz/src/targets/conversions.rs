//! `conversions`: bodies that routes convert or decompress. What is written is read again as the
//! same; what comes of any bytes is within the bounds that the units state, on the heap, too.

use aqueduct::middleware::units::{Conversion, Convert, Decompress, ValidJson};
use aqueduct::middleware::{Problem, Unit, json};

use crate::heap;
use crate::input::Input;

/// Formats that JSON becomes, and is made of.
const FORMATS: [&str; 3] = ["xml", "cbor", "messagepack"];
const CODINGS: [&str; 4] = ["gzip", "zstd", "snappy", "x-snappy-framed"];

/// Most bytes of heap for each that a unit says it reads or writes: of a short name in an object,
/// what says where it is takes more than itself, and a buffer that grows is there twice.
const HEAP_FACTOR: usize = 24;
/// What a unit takes whatever the body is: tables of decoders and encoders.
const HEAP_BYTES: usize = 1 << 20;
/// And with zstd: its largest window, and what is decoded into it.
const WINDOW_BYTES: usize = 18 << 20;

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.below(6);
    let limit = [1 << 16, 1 << 16, 1000, 60][input.below(4) as usize];
    match mode {
        0 | 1 => of_json(input.rest(), limit),
        2 => to_json(FORMATS[input.below(3) as usize], input.rest(), limit),
        3 => to_json("xml", input.rest(), limit),
        4 => decompress(&mut input, limit),
        _ => compressed(&mut input, limit),
    }
}

fn conversion(from: &str, to: &str) -> Convert {
    Convert(Conversion::new(from, to).expect("the features are on"))
}

/// Has a unit change a body, and holds it to its bounds.
fn change(
    unit: &dyn Unit,
    body: &[u8],
    limit: usize,
    codings: &[String],
) -> Result<Vec<u8>, Problem> {
    let (changed, most) = heap::most(|| unit.body(body.to_vec(), limit, codings));
    let (reads, writes) = (unit.reads(body.len(), limit), unit.writes(body.len()));
    let zstd = codings.iter().filter(|coding| *coding == "zstd").count();
    let bound = HEAP_BYTES + zstd * WINDOW_BYTES + HEAP_FACTOR * (reads + writes.min(limit));
    assert!(most <= bound, "{most} bytes of heap for {} of {}", body.len(), unit.name());
    match &changed {
        Ok(made) => assert!(made.len() <= limit.min(writes), "{} of {writes}", made.len()),
        Err(problem) => assert!([400, 413].contains(&problem.status), "{problem:?}"),
    }
    changed
}

/// JSON becomes each format and is the same when it comes back; what is no JSON becomes nothing.
fn of_json(body: &[u8], limit: usize) {
    let minified = json::minify(body).ok();
    let valid = change(&ValidJson { minify: true }, body, usize::MAX, &[]).ok();
    assert_eq!(valid, minified);
    if let Some(minified) = &minified {
        assert_eq!(json::minify(minified).as_ref().ok(), Some(minified), "minified for ever");
        // A second opinion, as far as it follows.
        let second = serde_json::from_slice::<serde_json::Value>(minified);
        let gave_up = second.is_err_and(|error| {
            let why = error.to_string();
            !why.contains("recursion limit") && !why.contains("out of range")
        });
        assert!(!gave_up, "{}", String::from_utf8_lossy(minified));
    }
    for format in FORMATS {
        let made = change(&conversion("json", format), body, limit, &[]);
        match (&minified, made) {
            (None, made) => assert!(made.is_err(), "{format}: {made:?}"),
            (Some(minified), Ok(made)) => {
                let back = change(&conversion(format, "json"), &made, usize::MAX, &[]);
                let back = back.expect("what was written can be read");
                assert_eq!(json::minify(&back).as_ref().ok(), Some(&back), "{format}");
                assert_alike(minified, &back, format == "xml");
            }
            (Some(_), Err(problem)) => {
                let is_number = format != "xml" && problem.detail.contains("room for the number");
                assert!(problem.status == 413 || is_number, "{format}: {problem:?}");
            }
        }
    }
}

/// Any bytes as a format: what becomes JSON becomes the format again, and that the same JSON.
fn to_json(format: &str, body: &[u8], limit: usize) {
    let Ok(made) = change(&conversion(format, "json"), body, limit, &[]) else { return };
    assert!(json::minify(&made).is_ok(), "{format}: {}", String::from_utf8_lossy(&made));
    match change(&conversion("json", format), &made, usize::MAX, &[]) {
        Ok(again) => {
            let back = change(&conversion(format, "json"), &again, usize::MAX, &[]);
            assert_alike(&made, &back.expect("what was written can be read"), format == "xml");
        }
        // CBOR has integers of 65 bits.
        Err(problem) => assert!(problem.detail.contains("room for the number"), "{problem:?}"),
    }
}

fn unit(input: &mut Input<'_>) -> Decompress {
    let max_bytes = [None, Some(100), Some(5000)][input.below(3) as usize];
    Decompress { max_bytes, max_ratio: [1, 10, 100][input.below(3) as usize] }
}

/// Any bytes as one coding, or as two.
fn decompress(input: &mut Input<'_>, limit: usize) {
    let unit = unit(input);
    let mut coding = || CODINGS[input.below(4) as usize].to_owned();
    let codings = [coding(), coding()];
    let count = 1 + input.below(2) as usize;
    let _ = change(&unit, input.take(usize::MAX), limit, &codings[..count]);
}

/// A body that another program compressed comes back, unless it is more than the bounds allow; with
/// a byte changed it is refused, or within the bounds.
fn compressed(input: &mut Input<'_>, limit: usize) {
    let (unit, coding) = (unit(input), CODINGS[input.below(4) as usize]);
    let (times, at, flip) = (1 + input.below(64) as usize, input.u16(), input.u8());
    let plain = input.take(usize::MAX).repeat(times);
    let mut body = compress(coding, &plain);
    let codings = [coding.to_owned()];
    let most = unit.writes(body.len()).min(limit);
    match change(&unit, &body, limit, &codings) {
        Ok(found) => {
            assert!(plain.len() <= most);
            assert!(found == plain, "{coding}");
        }
        Err(problem) => {
            assert!(problem.status == 413 && plain.len() > most, "{coding}: {problem:?}");
        }
    }
    if let Some(byte) = body.get_mut(usize::from(at)) {
        *byte ^= flip;
        let _ = change(&unit, &body, limit, &codings);
    }
}

fn compress(coding: &str, plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    match coding {
        "gzip" => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish()).expect("memory takes it")
        }
        "zstd" => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(plain, level)
        }
        "snappy" => snap::raw::Encoder::new().compress_vec(plain).expect("it is small"),
        _ => {
            let mut encoder = snap::write::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).expect("memory takes it");
            encoder.into_inner().expect("memory takes it")
        }
    }
}

/// A part of a JSON text.
#[derive(Debug, PartialEq)]
enum Token {
    Text(String),
    Number(String),
    Other(String),
}

/// The parts of a valid text without space between them.
fn tokens(json: &[u8]) -> Vec<Token> {
    let mut rest = std::str::from_utf8(json).expect("JSON is UTF-8");
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => {
                let mut is_escaped = false;
                let end = rest[1..].find(|one| {
                    let ends = one == '"' && !is_escaped;
                    is_escaped = one == '\\' && !is_escaped;
                    ends
                });
                end.expect("it has an end") + 2
            }
            '[' | ']' | '{' | '}' | ',' | ':' => 1,
            _ => rest.find([',', ']', '}']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        tokens.push(match first {
            '"' => Token::Text(serde_json::from_str(token).expect("a string")),
            '-' | '0'..='9' => Token::Number(token.to_owned()),
            _ => Token::Other(token.to_owned()),
        });
    }
    tokens
}

/// Two texts stand for the same value. Numbers have the same text, or, unless that is to be kept,
/// are the same number of 64 bits.
fn assert_alike(one: &[u8], other: &[u8], keeps_numbers: bool) {
    let (mine, theirs) = (tokens(one), tokens(other));
    assert_eq!(mine.len(), theirs.len());
    for pair in mine.into_iter().zip(theirs) {
        match pair {
            (Token::Number(mine), Token::Number(theirs)) if mine != theirs => {
                let is_integer = |text: &str| !text.contains(['.', 'e', 'E']) && text != "-0";
                let (a, b) = (mine.parse::<f64>(), theirs.parse::<f64>());
                let are_same = a.is_ok() && a.map(f64::to_bits) == b.map(f64::to_bits);
                assert!(!keeps_numbers && !is_integer(&mine) && are_same, "{mine} {theirs}");
            }
            (mine, theirs) => assert_eq!(mine, theirs),
        }
    }
}
