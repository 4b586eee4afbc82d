//! The status page: one document, its style and its script, as they are in the program.
//!
//! It asks `/v1/status` and `/v1/rings/{ring}/history` of the same address and nobody else.

use super::Page;

/// A file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The document.
    Page,
    /// Its style.
    Style,
    /// Its script.
    Script,
}

/// Returns a file.
pub(super) fn file(file: File) -> Page {
    let (media_type, content) = match file {
        File::Page => ("text/html; charset=utf-8", include_str!("status.html")),
        File::Style => ("text/css; charset=utf-8", include_str!("status.css")),
        File::Script => ("text/javascript; charset=utf-8", include_str!("status.js")),
    };
    Page::File(media_type, content)
}
