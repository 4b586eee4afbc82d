//! What operators ask: `/healthz`, `/readyz`, `/metrics`, `/v1/status`, answered by one thread.
//!
//! It only reads numbers, so it answers while a delivery hangs; and it can hold nothing up.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::metrics::{Flow, Metrics, Readiness};

/// How long one peer may take, in all.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a request that are looked at.
const HEAD_BYTES: usize = 4096;

/// Serves the pages until the process ends.
///
/// # Errors
/// The system refuses the thread.
pub fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    flow: Flow,
    limits: Readiness,
) -> io::Result<()> {
    let serve = move || {
        loop {
            match listener.accept() {
                Ok((peer, _)) => {
                    // A peer that hangs up or is slow loses its answer.
                    let _ = answer(peer, &metrics, &flow, limits);
                }
                // No descriptor is left, for instance.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    };
    std::thread::Builder::new().name("forward-admin".to_owned()).spawn(serve).map(|_| ())
}

fn answer(
    mut peer: TcpStream,
    metrics: &Metrics,
    flow: &Flow,
    limits: Readiness,
) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    peer.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() >= HEAD_BYTES {
            return Ok(());
        }
        peer.set_read_timeout(Some(left))?;
        let mut piece = [0; 1024];
        match peer.read(&mut piece)? {
            0 => return Ok(()),
            bytes => head.extend_from_slice(&piece[..bytes]),
        }
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|&byte| byte == b'?').next().unwrap_or_default();
    let (status, media_type, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/healthz") => ("200 OK", "text/plain", "ok\n".to_owned()),
        (b"GET" | b"HEAD", b"/readyz") => match metrics.unready(limits) {
            None => ("200 OK", "application/json", "{\"ready\":true}\n".to_owned()),
            Some(detail) => {
                let body = format!("{}\n", serde_json::json!({"ready": false, "detail": detail}));
                ("503 Service Unavailable", "application/json", body)
            }
        },
        (b"GET" | b"HEAD", b"/metrics") => {
            ("200 OK", "text/plain; version=0.0.4", metrics.page(&flow.sink, limits))
        }
        (b"GET" | b"HEAD", b"/v1/status") => {
            let status = serde_json::to_string(&metrics.status(flow, limits));
            ("200 OK", "application/json", status.map_err(io::Error::other)?)
        }
        (b"GET" | b"HEAD", _) => ("404 Not Found", "text/plain", "no such page\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    peer.write_all(head.as_bytes())?;
    if method != b"HEAD" {
        peer.write_all(body.as_bytes())?;
    }
    Ok(())
}
