//! What both drivers promise.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use super::echo::{Command, PATIENCE, Server};
use super::with_each;
use crate::ingress::event_loop::driver::{Buffers, Driver, Epoll, Kind, Uring, Waker};

/// Bytes that are not the same twice in a row.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + at / 251 + seed * 17) % 256).to_le_bytes()[0]).collect()
}

fn echoed(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("sent");
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("all of it back");
    assert!(back == bytes, "other bytes came back");
}

#[test]
fn what_is_sent_comes_back_many_times_over() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        for round in 0..200 {
            echoed(&mut stream, &pattern(1 + round * 7, round));
        }
    });
}

#[test]
fn a_storm_of_connections_is_accepted_and_each_is_answered() {
    with_each(|kind| {
        let server = Server::start(kind);
        for round in 0..3 {
            let mut streams: Vec<_> = (0..300).map(|_| server.connect()).collect();
            for (seed, stream) in streams.iter_mut().enumerate() {
                stream.write_all(&pattern(100, seed)).expect("sent");
            }
            for (seed, stream) in streams.iter_mut().enumerate() {
                let mut back = [0; 100];
                stream.read_exact(&mut back).expect("an answer");
                assert!(back[..] == pattern(100, seed), "connection {seed} of round {round}");
            }
            drop(streams);
        }
        server.eventually("all closed", |seen| seen.accepted == 900 && seen.open == 0);
        assert!(server.seen(|seen| seen.most_open) >= 300);
    });
}

#[test]
fn numbers_are_used_again_without_mixing_connections_up() {
    with_each(|kind| {
        let server = Server::start(kind);
        for seed in 0..300 {
            let mut stream = server.connect();
            echoed(&mut stream, &pattern(50, seed));
            if seed % 3 == 0 {
                let linger = reset_on_close(&stream);
                assert!(linger.is_ok());
            }
        }
        server.eventually("all closed", |seen| seen.open == 0);
        assert!(server.seen(|seen| seen.most_open) < 100);
    });
}

/// Makes the close of a socket a reset.
fn reset_on_close(stream: &TcpStream) -> rustix::io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))
}

#[test]
fn everything_sent_before_a_half_close_is_answered() {
    with_each(|kind| {
        let server = Server::start(kind);
        for round in 0..200 {
            let mut stream = server.connect();
            let sent = pattern(1 + round * 997, round);
            let mut writer = stream.try_clone().expect("a second handle");
            let writing = std::thread::spawn({
                let sent = sent.clone();
                move || {
                    writer.write_all(&sent).expect("sent");
                    writer.shutdown(Shutdown::Write).expect("half closed");
                }
            });
            let mut back = Vec::new();
            stream.read_to_end(&mut back).expect("the end");
            writing.join().expect("no panic");
            assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
        }
        assert!(server.seen(|seen| seen.ended == 200 && seen.failed.is_empty()));
    });
}

#[test]
fn a_reset_connection_is_given_up_and_the_others_go_on() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut other = server.connect();
        echoed(&mut other, b"before");
        for _ in 0..50 {
            let mut stream = server.connect();
            stream.write_all(&pattern(5000, 1)).expect("sent");
            reset_on_close(&stream).expect("set");
            drop(stream);
        }
        server.eventually("all but one closed", |seen| seen.accepted == 51 && seen.open == 1);
        echoed(&mut other, b"after");
    });
}

#[test]
fn a_reset_is_noticed_while_the_connection_is_not_read() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        echoed(&mut stream, b"here");
        server.command(Command::Pause(0));
        std::thread::sleep(Duration::from_millis(50));
        assert!(server.seen(|seen| seen.failed.is_empty()));
        reset_on_close(&stream).expect("set");
        drop(stream);
        server.eventually("the reset is noticed", |seen| seen.failed.len() == 1);
        server.eventually("closed", |seen| seen.open == 0);
    });
}

#[test]
fn a_reader_that_does_not_read_holds_a_bounded_amount_and_then_gets_everything() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut slow = server.connect();
        let sent = pattern(24 << 20, 3);
        let mut writer = slow.try_clone().expect("a second handle");
        let writing = std::thread::spawn({
            let sent = sent.clone();
            move || {
                writer.write_all(&sent).expect("sent in the end");
                writer.shutdown(Shutdown::Write).expect("half closed");
            }
        });
        // Nobody reads: the server has to stop reading too.
        let mut before = usize::MAX;
        let mut quiet = 0;
        while quiet < 10 {
            std::thread::sleep(Duration::from_millis(20));
            let now = server.seen(|seen| seen.received_bytes);
            quiet = if now == before && now > 0 { quiet + 1 } else { 0 };
            before = now;
        }
        assert!(before < sent.len(), "everything was taken though nobody reads");
        let unsent = server.seen(|seen| seen.largest_unsent);
        assert!(unsent < 5 << 20, "{unsent} bytes held for one connection");
        // Others are served meanwhile.
        echoed(&mut server.connect(), b"others");
        let mut back = Vec::new();
        slow.read_to_end(&mut back).expect("the end");
        writing.join().expect("no panic");
        assert!(back == sent, "{} of {} bytes came back", back.len(), sent.len());
    });
}

#[test]
fn what_follows_urgent_data_is_read() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        echoed(&mut stream, b"here");
        // So that all of it is there when it is read.
        server.command(Command::Pause(0));
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(b"before ").expect("sent");
        let urgent = rustix::net::send(&stream, b"!", rustix::net::SendFlags::OOB);
        assert_eq!(urgent, Ok(1));
        stream.write_all(b"after").expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        server.command(Command::Resume(0));
        let mut back = [0; 12];
        stream.read_exact(&mut back).expect("all but what is urgent");
        assert_eq!(&back, b"before after");
    });
}

#[test]
fn how_much_a_slow_peer_has_taken_of_a_long_answer_is_known() {
    fn taken<D: Driver>(mut driver: D) -> usize {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        theirs.set_nonblocking(true).expect("set");
        driver.add(0, ours.into()).expect("added");
        driver.send(0, vec![7; 8 << 20]);
        let turn = |driver: &mut D| driver.turn(Some(Duration::from_millis(1)), |_| ());
        turn(&mut driver).expect("a turn");
        let (before, mut read, mut piece) = (driver.unsent(0), 0, vec![0; 32 << 10]);
        let until = std::time::Instant::now() + PATIENCE;
        while read < 4 << 20 {
            assert!(std::time::Instant::now() < until, "{read} bytes came");
            read += theirs.read(&mut piece).unwrap_or(0);
            turn(&mut driver).expect("a turn");
        }
        before - driver.unsent(0)
    }
    with_each(|kind| {
        let (waker, buffers) = (Arc::new(Waker::new().expect("an eventfd")), Buffers::default());
        let taken = match kind {
            Kind::Epoll => taken(Epoll::new(waker, buffers).expect("a driver")),
            Kind::IoUring => taken(Uring::new(waker, buffers).expect("a driver")),
        };
        assert!(taken >= 3 << 20, "{kind}: {taken} bytes are known of 4 MiB");
    });
}

#[test]
fn a_flood_on_one_connection_does_not_keep_another_waiting() {
    with_each(|kind| {
        let server = Server::start(kind);
        let flood = server.connect();
        let mut reader = flood.try_clone().expect("a second handle");
        let reading = std::thread::spawn(move || {
            let mut scrap = vec![0; 64 << 10];
            while matches!(reader.read(&mut scrap), Ok(1..)) {}
        });
        let mut writer = flood.try_clone().expect("a second handle");
        let writing = std::thread::spawn(move || {
            let bytes = vec![5; 256 << 10];
            while writer.write_all(&bytes).is_ok() {}
        });
        let mut stream = server.connect();
        for round in 0..100 {
            echoed(&mut stream, &pattern(64, round));
        }
        flood.shutdown(Shutdown::Both).expect("stopped");
        writing.join().expect("no panic");
        reading.join().expect("no panic");
        assert!(server.seen(|seen| seen.largest_received) <= 64 << 10);
    });
}

#[test]
fn a_paused_connection_is_not_read_until_it_is_resumed() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        echoed(&mut stream, b"here");
        for _ in 0..20 {
            server.command(Command::Pause(0));
            let turns = server.seen(|seen| seen.wakes);
            server.eventually("the pause has begun", |seen| seen.wakes >= turns);
            std::thread::sleep(Duration::from_millis(5));
            let before = server.seen(|seen| seen.received_bytes);
            stream.write_all(&[9; 1000]).expect("sent");
            std::thread::sleep(Duration::from_millis(10));
            assert_eq!(server.seen(|seen| seen.received_bytes), before);
            server.command(Command::Resume(0));
            let mut back = [0; 1000];
            stream.read_exact(&mut back).expect("everything");
        }
        // In quick succession, too.
        for _ in 0..200 {
            server.command(Command::Pause(0));
            server.command(Command::Resume(0));
            echoed(&mut stream, b"x");
        }
    });
}

#[test]
fn a_released_connection_works_on_and_loses_no_byte() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        echoed(&mut stream, b"here");
        server.command(Command::Release(0));
        server.eventually("released", |seen| !seen.released.is_empty());
        let (_, socket) = server.seen(|seen| seen.released.pop()).expect("just seen");
        let mut ours = TcpStream::from(socket);
        ours.set_nonblocking(false).expect("set");
        ours.write_all(b"ours").expect("sent");
        let mut four = [0; 4];
        stream.read_exact(&mut four).expect("received");
        assert_eq!(&four, b"ours");
        stream.write_all(b"back").expect("sent");
        ours.read_exact(&mut four).expect("not read by the driver");
        assert_eq!(&four, b"back");
        echoed(&mut server.connect(), b"the number is free");
    });
}

#[test]
fn a_closed_connection_ends_for_its_peer() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut idle = server.connect();
        echoed(&mut idle, b"here");
        server.command(Command::Close(0));
        assert_eq!(idle.read(&mut [0; 8]).expect("the end"), 0);
        server.eventually("closed", |seen| seen.open == 0);
        assert!(server.seen(|seen| seen.failed.is_empty()));
    });
}

#[test]
fn after_the_end_of_listening_connections_go_on_and_new_ones_are_refused() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        echoed(&mut stream, b"before");
        server.command(Command::StopListening);
        let until = std::time::Instant::now() + PATIENCE;
        while TcpStream::connect(server.address).is_ok() {
            assert!(std::time::Instant::now() < until, "still listening");
            std::thread::sleep(Duration::from_millis(2));
        }
        echoed(&mut stream, b"after");
    });
}

#[test]
fn unix_sockets_are_served_too() {
    with_each(|kind| {
        let path = std::env::temp_dir().join(format!("aqd-{}-{kind}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("bound");
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::with_listener(kind, nowhere, listener.into());
        let mut stream = UnixStream::connect(&path).expect("accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let sent = pattern(300_000, 5);
        let mut writer = stream.try_clone().expect("a second handle");
        let writing = std::thread::spawn({
            let sent = sent.clone();
            move || {
                writer.write_all(&sent).expect("sent");
                writer.shutdown(Shutdown::Write).expect("half closed");
            }
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("the end");
        writing.join().expect("no panic");
        assert!(back == sent);
        drop(server);
        std::fs::remove_file(&path).expect("removed");
    });
}

#[test]
fn an_idle_driver_does_not_turn() {
    with_each(|kind| {
        let server = Server::start(kind);
        let mut stream = server.connect();
        echoed(&mut stream, b"here");
        std::thread::sleep(Duration::from_millis(20));
        let before = server.seen(|seen| seen.turns);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.seen(|seen| seen.turns), before);
    });
}
