//! The units that a route can name.

mod access_log;
mod authenticate;
mod body_limit;
mod convert;
#[cfg(feature = "decompress")]
mod decompress;
mod json;
mod rate_limit;
mod request_id;

pub use access_log::AccessLog;
pub use authenticate::{Authenticate, CHALLENGE};
pub use body_limit::BodyLimit;
pub use convert::{Conversion, Convert};
#[cfg(feature = "decompress")]
pub use decompress::Decompress;
pub use json::ValidJson;
pub use rate_limit::{Per, RateLimit};
pub use request_id::RequestId;

#[cfg(test)]
mod tests;
