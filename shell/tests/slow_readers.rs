//! Clients that send much and take their answers slowly: what they cost, and that they get them.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use common::{PATIENCE, Server};

/// RESP at any port.
const RESP: &str = "[[listen]]\naddress = '127.0.0.1:0'\nprotocol = 'resp'\n";

/// Each driver that works here.
const DRIVERS: [&str; 2] = ["epoll", "auto"];

#[test]
fn a_client_that_sends_on_while_its_answers_wait_is_not_read_on() {
    for driver in DRIVERS {
        let server = Server::with_file(RESP, &["--driver", driver]);
        let mut stream = server.speak("resp");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        let mut writer = stream.try_clone().expect("a second handle");
        // An answer is some twenty times as long as its command.
        let commands = b"INFO\r\n".repeat(16 << 10);
        let writing = std::thread::spawn(move || while writer.write_all(&commands).is_ok() {});
        let mut answers = vec![0; 16 << 20];
        stream.read_exact(&mut answers).expect("answers");
        let buffered = server.metric("aqueduct_buffered_bytes");
        // A turn of io_uring may bring all its receive buffers, 4 MiB.
        assert!(buffered < f64::from(8 << 20), "{driver}: {buffered} bytes are kept");
        let end = answers.windows(3).position(|bytes| bytes == b"\r\n$").expect("an answer") + 2;
        let whole = answers.len() / end * end;
        assert!(answers[..whole].chunks(end).all(|answer| *answer == answers[..end]), "{driver}");
        stream.shutdown(std::net::Shutdown::Both).expect("open");
        writing.join().expect("no panic");
    }
}

#[test]
fn a_client_that_takes_a_long_answer_slowly_gets_all_of_it() {
    const BYTES: usize = 24 << 20;
    // Both are shorter than the answer takes.
    let text = format!(
        "[http]\nbody_timeout_ms = 500\n{RESP}idle_timeout_ms = 300\nmax_message_bytes = '32MiB'\n"
    );
    for driver in DRIVERS {
        let server = Server::with_file(&text, &["--driver", driver]);
        let mut stream = server.speak("resp");
        let head = format!("*2\r\n$4\r\nECHO\r\n${BYTES}\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&vec![b'x'; BYTES]).expect("sent");
        stream.write_all(b"\r\n").expect("sent");
        let (mut taken, mut piece) = (0, vec![0; 1 << 20]);
        while taken < BYTES {
            // Never more than the kernel has room for again.
            std::thread::sleep(Duration::from_millis(40));
            match stream.read(&mut piece) {
                Ok(0) => panic!("{driver}: closed after {taken} bytes; log:\n{}", server.log()),
                Ok(bytes) => taken += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{driver}: {error} after {taken} bytes"),
            }
        }
    }
}
