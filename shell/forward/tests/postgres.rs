//! The sink `postgres` against a real server: what the rows are, and that each is there once,
//! whoever dies and whenever.
#![cfg(feature = "postgres")]

mod common;
#[path = "common/outage.rs"]
mod outage;
#[path = "common/postgres.rs"]
mod postgres;

use std::cell::RefCell;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{Forward, Listener, Random, Scratch, eventually, get, lines, metric};
use postgres::{Proxy, Server};
use rustix::process::Signal;

/// A configuration for a table of this name, whose columns are `seq` and `n`.
fn config(directory: &Path, table: &str, more: &str) -> String {
    format!(
        "[retry]\nfirst_ms = 10\nlongest_ms = 200\nbreaker_pause_ms = 200\n[batch]\nwait_ms = 5\n\
         [sink]\nkind = 'postgres'\nurl = 'host={} user=postgres'\ntable = '{table}'\n\
         progress_table = '{table}_progress'\n{more}\n\
         [[sink.columns]]\nname = 'seq'\nfield = 'seq'\n\
         [[sink.columns]]\nname = 'n'\npointer = '/n'\n",
        directory.display()
    )
}

fn post(listener: &Listener, from: u64, to: u64) {
    let all: Vec<_> = (from..to).map(|n| format!("{{\"n\": {n}}}")).collect();
    assert!(listener.client().lines(&all.join("\n")));
}

/// That a table has the numbers below `count`, each once, in the order of their records.
#[track_caller]
fn has_each_once(server: &Server, table: &str, count: u64) {
    let query = format!(
        "SELECT count(*), count(DISTINCT n), min(n), max(n), \
         (SELECT count(*) FROM (SELECT n - lag(n) OVER (ORDER BY seq) AS d FROM {table}) AS x WHERE d <> 1) \
         FROM {table}"
    );
    assert_eq!(server.sql(&query), format!("{count}|{count}|0|{}|0", count - 1), "{table}");
}

#[test]
fn rows_are_what_the_columns_name_and_poison_is_found() {
    let server = Server::start();
    let scratch = Scratch::new("rows");
    let listener = Listener::start(&scratch);
    server.sql(
        "CREATE SCHEMA s; CREATE TABLE s.readings (epoch text, seq bigint PRIMARY KEY, type int, \
         at timestamptz, id text NOT NULL, value double precision CHECK (value < 100), \
         attributes jsonb, raw bytea, body text)",
    );
    let mut client = listener.client();
    client.record(7, br#"{"id": "a\tb\\\n\"c", "value": 21.5}"#);
    for n in 1..60 {
        client.record(8, format!("{{\"id\": \"x\", \"value\": {n}}}").as_bytes());
    }
    client.record(9, br#"{"id": "x", "value": "warm"}"#); // no number
    client.record(9, br#"{"id": "x", "value": 100}"#); // violates the check
    client.record(9, br#"{"value": 1}"#); // violates NOT NULL
    client.record(9, b"warm"); // no JSON
    client.record(9, b"{\"id\": \"\\u0000\"}"); // no text of PostgreSQL
    client.record(10, br#"{"id": "last"}"#);
    let dead = scratch.join("dead");
    let config = format!(
        "[sink]\nkind = 'postgres'\ntable = 's.readings'\nurl = 'host=/nowhere,{} user=postgres'\n\
         columns = [{{ name = 'epoch', field = 'epoch' }}, {{ name = 'seq', field = 'seq' }}, \
         {{ name = 'type', field = 'type' }}, {{ name = 'at', field = 'timestamp' }}, \
         {{ name = 'id', pointer = '/id' }}, {{ name = 'value', pointer = '/value' }}, \
         {{ name = 'attributes', field = 'attributes' }}, \
         {{ name = 'raw', field = 'payload_bytes' }}, {{ name = 'body', field = 'payload' }}]\n\
         [poison]\nfile = '{}'\n",
        server.directory().display(),
        dead.display()
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(server.sql("SELECT count(*), sum(type) FROM s.readings"), "61|489");
    let first = "SELECT id = E'a\\tb\\\\\\n\"c', value, raw = convert_to(body, 'UTF8'), \
                 attributes, abs(extract(epoch FROM now() - at)) < 60 FROM s.readings WHERE seq = 0";
    assert_eq!(server.sql(first), "t|21.5|t|{}|t");
    assert_eq!(server.sql("SELECT value IS NULL FROM s.readings WHERE id = 'last'"), "t");
    let dead: Vec<serde_json::Value> =
        lines(&dead).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seqs: Vec<_> = dead.iter().filter_map(|it| it["record"]["seq"].as_u64()).collect();
    assert_eq!(seqs, [60, 61, 62, 63, 64]);
    let reasons: Vec<_> = dead.iter().filter_map(|it| it["reason"].as_str()).collect();
    for (reason, part) in reasons.iter().zip(["22P02", "23514", "23502", "not JSON", "22021"]) {
        assert!(reason.contains(part), "{reason}: {part}");
    }
    assert_eq!(server.sql("SELECT flow, seq FROM aqueduct_progress"), "s|65");
}

#[test]
fn garbage_among_the_records_of_a_batch_does_not_cost_a_transaction_each() {
    for method in ["copy", "insert"] {
        let server = Server::start();
        let scratch = Scratch::new("garbage");
        let listener = Listener::start(&scratch);
        server.sql("CREATE TABLE garbage (seq bigint, n bigint)");
        let body = |n| if n % 10 == 9 { "garbage".to_owned() } else { format!("{{\"n\": {n}}}") };
        let all: Vec<_> = (0..300).map(body).collect();
        assert!(listener.client().lines(&all.join("\n")));
        let dead = scratch.join("dead");
        let poison = format!("method = '{method}'\n[poison]\nfile = '{}'", dead.display());
        let config = config(&server.directory(), "garbage", "").replace(
            "[[sink.columns]]\nname = 'seq'\nfield = 'seq'\n\
             [[sink.columns]]\nname = 'n'\npointer = '/n'\n",
            &format!(
                "columns = [{{ name = 'seq', field = 'seq' }}, {{ name = 'n', pointer = '/n' }}]\n\
                 {poison}\n"
            ),
        );
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
        let rows = "SELECT count(*), count(DISTINCT n), count(DISTINCT xmin::text) FROM garbage";
        assert_eq!(server.sql(rows), "270|270|2", "{method}");
        assert_eq!(lines(&dead).len(), 30);
    }
}

#[test]
fn cut_at_every_message_each_row_is_there_once() {
    cut_at_every_message("");
}

#[test]
fn cut_at_every_message_each_inserted_row_is_there_once() {
    cut_at_every_message("method = 'insert'\non_conflict = '(id) DO NOTHING'");
}

fn cut_at_every_message(how: &str) {
    let server = Server::start();
    let scratch = Scratch::new("cuts");
    let listener = Listener::start(&scratch);
    // Rows that came twice would be there twice: their keys differ.
    server.sql("CREATE TABLE cuts (seq bigint, n bigint, id bigserial PRIMARY KEY)");
    let proxy_directory = scratch.join("proxy");
    std::fs::create_dir(&proxy_directory).expect("a directory");
    let config = config(&proxy_directory, "cuts", how);
    let mut posted = 0;
    let mut cuts = 0;
    for is_after in [false, true] {
        for cut in 0.. {
            assert!(cut < 200, "it never ends");
            let proxy = Proxy::start(&proxy_directory, &server.directory(), cut, is_after);
            post(&listener, posted, posted + 3);
            posted += 3;
            let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
            assert_eq!(forward.process.wait().code(), Some(0), "cut {cut}");
            has_each_once(&server, "cuts", posted);
            if !proxy.has_cut() {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 30, "{cuts}");
    println!("postgres: {cuts} cuts, {posted} records, each once");
}

#[test]
fn a_transaction_that_a_killed_process_left_is_waited_for() {
    let server = Server::start();
    let scratch = Scratch::new("left");
    let listener = Listener::start(&scratch);
    server.sql("CREATE TABLE left_over (seq bigint, n bigint)");
    let config = config(&server.directory(), "left_over", "");
    post(&listener, 0, 3);
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    post(&listener, 3, 6);
    // What it had done before it was killed, and is committed a second later.
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            server.sql(
                "INSERT INTO left_over VALUES (3, 3), (4, 4), (5, 5); \
                 UPDATE left_over_progress SET seq = 5; SELECT pg_sleep(1)",
            )
        });
        eventually("it sleeps", || {
            let query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            (server.sql(query) == "1").then_some(())
        });
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
        other.join().expect("it was committed");
    });
    has_each_once(&server, "left_over", 6);
}

#[test]
fn subscriptions_of_one_name_share_a_database_and_each_row_is_there_once() {
    let server = Server::start();
    let (here, there) = (Scratch::new("one"), Scratch::new("other"));
    let (one, other) = (Listener::start(&here), Listener::start(&there));
    server.sql("CREATE TABLE shared (seq bigint, n bigint)");
    let config = config(&server.directory(), "shared", "");
    let run = |scratch: &Scratch, listener: &Listener| {
        let mut forward = Forward::start(scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    };
    let numbers = || server.sql("SELECT count(*), count(DISTINCT n) FROM shared");
    // What was committed before the process was killed, and is not released.
    let leave = |from: u64| {
        post(&one, from, from + 2);
        server.sql(&format!(
            "INSERT INTO shared VALUES ({from}, {from}), ({0}, {0}); \
             UPDATE shared_progress SET seq = {0} WHERE seq = {from} - 1",
            from + 1
        ));
    };
    post(&one, 0, 3);
    run(&here, &one);
    leave(3);
    // One that is in use, and one that is not any more.
    server.sql(
        "INSERT INTO shared_progress VALUES ('s', 1, 0, 'kept', 7, now() - interval '29 days'), \
         ('s', 1, 0, 'forgotten', 7, now() - interval '31 days')",
    );
    post(&other, 100, 103);
    run(&there, &other);
    run(&here, &one);
    assert_eq!(numbers(), "8|8");
    let kept = "SELECT count(*), count(*) FILTER (WHERE epoch = 'kept') FROM shared_progress";
    assert_eq!(server.sql(kept), "3|1");
    // A table as the first version made it.
    server.sql(
        "DELETE FROM shared_progress WHERE seq <> 4; \
         ALTER TABLE shared_progress DROP CONSTRAINT shared_progress_pkey, DROP COLUMN at, \
         ADD CONSTRAINT \"a key\" PRIMARY KEY (flow, parts, part)",
    );
    leave(5);
    run(&here, &one);
    assert_eq!(numbers(), "10|10");
    run(&there, &other);
    assert_eq!(server.sql("SELECT max(seq) FROM shared_progress"), "6");
}

#[test]
fn a_session_whose_client_vanished_or_is_silent_holds_up_nobody_for_long() {
    let server = Server::start_on_tcp();
    server.sql("CREATE TABLE vanished (seq bigint, n bigint)");
    // Passes messages on, up to the end of a word; then the connection is without a word gone, as
    // that of a machine without power, or it stays and is silent.
    let proxy = "import socket, sys, threading, time\n\
        word, port = sys.argv[2].encode(), int(sys.argv[3])\n\
        here = socket.create_server(('127.0.0.1', 0))\n\
        print('port', here.getsockname()[1], file=sys.stderr, flush=True)\n\
        def back(server, client):\n\
        \x20server.settimeout(0.1) # or the call keeps what is closed\n\
        \x20while server.fileno() >= 0:\n\
        \x20 try: client.sendall(server.recv(65536))\n\
        \x20 except TimeoutError: pass\n\
        \x20 except OSError: return\n\
        while True:\n\
        \x20client, _ = here.accept()\n\
        \x20server = socket.create_connection(('127.0.0.1', port))\n\
        \x20threading.Thread(target=back, args=(server, client), daemon=True).start()\n\
        \x20seen = b''\n\
        \x20while piece := client.recv(65536):\n\
        \x20 seen += piece\n\
        \x20 if word in seen:\n\
        \x20  rest = len(seen) - seen.index(word) - len(word)\n\
        \x20  server.sendall(piece[:len(piece) - rest])\n\
        \x20  time.sleep(0.3)\n\
        \x20  if sys.argv[1] == 'vanish':\n\
        \x20   server.setsockopt(socket.IPPROTO_TCP, 19, 1) # TCP_REPAIR\n\
        \x20   server.close()\n\
        \x20  print('here', file=sys.stderr, flush=True)\n\
        \x20  time.sleep(600)\n\
        \x20 server.sendall(piece)\n";
    let mut posted = 0;
    for (how, word) in [("silent", "COPY "), ("vanish", "COPY "), ("vanish", "marker")] {
        let scratch = Scratch::new("vanished");
        let listener = Listener::start(&scratch);
        let config = |port: u16| {
            let url = format!("url = 'host=127.0.0.1 port={port} user=postgres sslmode=disable'");
            config(Path::new("/nowhere"), "vanished", "timeout_ms = 2000")
                .replace("url = 'host=/nowhere user=postgres'", &url)
        };
        listener.client().record(1, format!("{{\"n\": {posted}}}").as_bytes());
        // The server is left with the beginning of a row, in the middle of COPY.
        let word = if word == "marker" { format!("\t{posted}") } else { word.to_owned() };
        let mut command = std::process::Command::new("python3");
        command.args(["-c", proxy, how]).arg(&word).arg(server.port().to_string());
        let proxy = common::Process::start(&mut command, scratch.join("proxy.log"));
        let port = proxy.wait_for_log("port ").replace("port ", "").parse().expect("a port");
        let mut forward = Forward::start(&scratch, &listener.socket, &config(port), &[]);
        eventually("it is silent, or without rights", || {
            let log = proxy.log();
            (log.contains("here") || log.contains("PermissionError")).then_some(())
        });
        if proxy.log().contains("PermissionError") {
            println!("skipped: only root can make a connection vanish");
            return;
        }
        forward.process.kill();
        assert_eq!(
            server.sql(
                "SELECT count(*) FROM pg_locks WHERE relation = \
            'vanished_progress'::regclass AND mode = 'RowShareLock'"
            ),
            "1",
            "a session holds it"
        );
        let began = Instant::now();
        let config = config(server.port());
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        let ended = forward.process.wait_for(Duration::from_secs(25));
        assert!(ended.is_some_and(|it| it.success()), "{how}: {}", forward.process.log());
        println!("{how} after {word:?}: {} ms", began.elapsed().as_millis());
        posted += 1;
        assert_eq!(server.sql("SELECT count(*) FROM vanished"), posted.to_string());
    }
}

#[test]
fn a_transaction_that_does_not_serialize_is_repeated_and_its_rows_are_there_once() {
    for how in ["", "method = 'insert'"] {
        let server = Server::start();
        let scratch = Scratch::new("serialize");
        let listener = Listener::start(&scratch);
        // Some attempts fail: at their rows, or, a deadlock, at their commit.
        server.sql(
            "CREATE TABLE fights (seq bigint, n bigint); \
             CREATE SEQUENCE attempts; \
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('attempts') IN (1, 3, 6) THEN \
             RAISE EXCEPTION 'somebody else was first' USING ERRCODE = TG_ARGV[0]; END IF; \
             RETURN NULL; END $$; \
             CREATE TRIGGER early AFTER INSERT ON fights FOR EACH STATEMENT \
             EXECUTE FUNCTION fail('40001'); \
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON fights DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW WHEN (NEW.n = 0) EXECUTE FUNCTION fail('40P01')",
        );
        let config = config(&server.directory(), "fights", how);
        for batch in 0..3 {
            post(&listener, 10 * batch, 10 * batch + 10);
            let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
            assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
        }
        let log = std::fs::read_to_string(scratch.join("forward.log")).expect("a log");
        assert!(log.contains("40001") && log.contains("40P01"), "{log}");
        has_each_once(&server, "fights", 30);
    }
}

#[test]
fn an_idle_process_ends_at_once_while_its_server_hangs() {
    let scratch = Scratch::new("mute");
    let listener = Listener::start(&scratch);
    // It accepts, by the kernel, and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("it has one").port();
    let config = format!(
        "[sink]\nkind = 'postgres'\nurl = 'host=127.0.0.1 port={port} user=postgres'\n\
         table = 't'\nmax_wait_ms = '30s'\n[[sink.columns]]\nname = 'n'\nfield = 'payload'\n"
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let _probe = mute.accept().expect("it probes");
    let began = Instant::now();
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    forward.process.wait_for_log("delivered=0 dead_lettered=0 left=0");
    // With a record in flight it is the truth that it is not delivered.
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    listener.client().record(0, b"one");
    let _sent = mute.accept().expect("it connects");
    thread::sleep(Duration::from_millis(100));
    assert_eq!(forward.stop(), 3, "{}", forward.process.log());
    forward.process.wait_for_log("1 records are not delivered and stay in the ring");
}

#[test]
fn what_takes_too_long_together_is_brought_in_smaller_transactions() {
    for how in ["", "method = 'insert'"] {
        let server = Server::start();
        let scratch = Scratch::new("slow");
        let listener = Listener::start(&scratch);
        // 10 ms a row: all of them take twice as long as an attempt may.
        server.sql(
            "CREATE TABLE slow (seq bigint, n bigint); \
             CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_sleep(0.01); RETURN NEW; END $$; \
             CREATE TRIGGER slow BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION slow()",
        );
        post(&listener, 0, 200);
        let config = config(&server.directory(), "slow", &format!("timeout_ms = 1000\n{how}"));
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
        assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
        has_each_once(&server, "slow", 200);
    }
}

#[test]
fn when_the_server_is_lost_its_standby_goes_on_and_each_row_is_there_once() {
    let mut first = Server::start();
    first.sql("CREATE TABLE moved (seq bigint, n bigint)");
    let second = first.standby();
    let scratch = Scratch::new("failover");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    let both = format!("host={},", first.directory().display());
    let config = config(&second.directory(), "moved", "timeout_ms = 3000");
    let config = config.replace("host=", &both);
    let config = config.replace("user=postgres'", "user=postgres target_session_attrs=read-write'");
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut posted = 0;
    let mut go_on = |until: &dyn Fn(u64) -> bool| {
        let began = Instant::now();
        while !until(posted) {
            assert!(began.elapsed() < common::TIMEOUT, "{posted}");
            post(&listener, posted, posted + 20);
            posted += 20;
            thread::sleep(Duration::from_millis(2));
        }
        posted
    };
    let rows = |server: &Server| server.sql("SELECT count(*) FROM moved").parse().unwrap_or(0_u64);
    go_on(&|_| rows(&first) >= 200);
    // In the middle of what is being written.
    first.kill();
    go_on(&|posted| posted >= 600);
    // The standby takes no rows yet, and is not taken for the server.
    assert!(forward.process.is_running(), "{}", forward.process.log());
    second.sql("ALTER SYSTEM RESET synchronous_standby_names");
    assert_eq!(second.sql("SELECT pg_promote()"), "t");
    let promoted = Instant::now();
    let posted = go_on(&|posted| posted >= 800);
    eventually("all rows", || (rows(&second) >= posted).then_some(()));
    assert!(promoted.elapsed() < Duration::from_secs(10), "{:?}", promoted.elapsed());
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    has_each_once(&second, "moved", posted);
}

#[test]
fn a_server_that_is_gone_for_a_while_gets_all_within_seconds_of_its_return() {
    let server = RefCell::new(Server::start());
    server.borrow().sql("CREATE TABLE outage (seq bigint, n bigint)");
    let scratch = Scratch::new("outage");
    let listener = Listener::start_with(&scratch, &outage::LISTENER);
    let config = config(&server.borrow().directory(), "outage", "");
    let taken = outage::outlasts(
        "postgres",
        (&scratch, &listener),
        &config,
        || server.borrow_mut().kill(),
        || server.borrow_mut().run(),
    );
    has_each_once(&server.borrow(), "outage", taken);
}

#[test]
fn killed_at_random_each_row_is_there_once() {
    kill_at_random("postgres", "");
}

#[test]
fn killed_at_random_each_inserted_row_is_there_once() {
    kill_at_random("postgres-insert", "method = 'insert'\n");
}

fn kill_at_random(name: &str, how: &str) {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (kills, seed): (u64, u64) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let mut server = Server::start();
    server.sql("ALTER SYSTEM SET default_transaction_isolation = 'serializable'");
    let scratch = Scratch::new("pkills");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    server.sql("CREATE TABLE kills (seq bigint, n bigint)");
    let directory = server.directory();
    let config = |connections: u64| {
        let more = format!("{how}max_active = {connections}\ntimeout_ms = 3000");
        config(&directory, "kills", &more)
    };
    let mut forward = Forward::start(&scratch, &listener.socket, &config(1), &[]);
    let (mut posted, mut by) = (0, [0; 3]);
    for kill in 0..kills {
        let until = Instant::now() + Duration::from_millis(random.below(150));
        while Instant::now() < until {
            post(&listener, posted, posted + 20);
            posted += 20;
            thread::sleep(Duration::from_millis(1));
        }
        match if kill < 3 { kill } else { random.below(10).min(2) } {
            0 => {
                server.kill();
                server.run();
                by[0] += 1;
            }
            1 => {
                server.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'aqueduct-forward'",
                );
                by[1] += 1;
            }
            _ => {
                forward.process.kill();
                // Divided in another way than before.
                let config = config(1 + random.below(3));
                forward = Forward::start(&scratch, &listener.socket, &config, &[]);
                by[2] += 1;
            }
        }
    }
    post(&listener, posted, posted + 1);
    posted += 1;
    let last = format!("SELECT count(*) FROM kills WHERE n = {}", posted - 1);
    let count = format!("SELECT count(*) >= {posted} FROM kills");
    eventually("all rows", || {
        (server.sql(&last) == "1" && server.sql(&count) == "t").then_some(())
    });
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    has_each_once(&server, "kills", posted);
    println!(
        "{name}: {} kills of the server, {} of sessions, {} of the forwarder, {posted} records, \
         0 lost, 0 twice",
        by[0], by[1], by[2]
    );
}

#[test]
fn inserted_rows_go_into_views_and_meet_those_that_are_there_and_poison_is_found() {
    let server = Server::start();
    let scratch = Scratch::new("insert");
    let listener = Listener::start(&scratch);
    server.sql(
        "CREATE TABLE latest (sensor text PRIMARY KEY, value double precision CHECK (value < 100), \
         at timestamptz, raw bytea, times int NOT NULL DEFAULT 1); \
         CREATE VIEW readings AS SELECT sensor, value, at, raw FROM latest",
    );
    let mut client = listener.client();
    let send = |client: &mut common::Poster, sensor: &str, value: &str| {
        client.record(1, format!("{{\"sensor\": \"{sensor}\", \"value\": {value}}}").as_bytes());
    };
    for n in 0..3 {
        for sensor in ["a", "it's", "c\\\\d"] {
            send(&mut client, sensor, &n.to_string());
        }
    }
    send(&mut client, "warm", "\"warm\""); // no number
    send(&mut client, "hot", "100"); // violates the check
    client.record(1, b"{\"sensor\": \"\\u0000\"}"); // no text of SQL
    send(&mut client, "a", "7");
    let dead = scratch.join("dead");
    let config = |table: &str, conflict: &str| {
        format!(
            "[sink]\nkind = 'postgres'\ntable = '{table}'\nurl = 'host={} user=postgres'\n\
             method = 'insert'\n{conflict}\n\
             columns = [{{ name = 'sensor', pointer = '/sensor', required = true }}, \
             {{ name = 'value', pointer = '/value' }}, {{ name = 'at', field = 'timestamp' }}, \
             {{ name = 'raw', field = 'payload_bytes' }}]\n[poison]\nfile = '{}'\n",
            server.directory().display(),
            dead.display()
        )
    };
    // Of a sensor that comes several times in one batch, the last value counts.
    let update = "on_conflict = '(sensor) DO UPDATE SET value = EXCLUDED.value, \
                  raw = EXCLUDED.raw, times = latest.times + 1'";
    let config_of_table = config("latest", update);
    let mut forward = Forward::start(&scratch, &listener.socket, &config_of_table, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let rows = "SELECT sensor, value, times, get_byte(raw, 0) = 123 FROM latest ORDER BY sensor";
    assert_eq!(server.sql(rows), "a|7|4|t\nc\\d|2|3|t\nit's|2|3|t");
    let dead: Vec<serde_json::Value> =
        lines(&dead).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let seqs: Vec<_> = dead.iter().filter_map(|it| it["record"]["seq"].as_u64()).collect();
    assert_eq!(seqs, [9, 10, 11]);
    let reasons: Vec<_> = dead.iter().filter_map(|it| it["reason"].as_str()).collect();
    for (reason, part) in reasons.iter().zip(["22P02", "23514", "has a NUL"]) {
        assert!(reason.contains(part), "{reason}: {part}");
    }
    send(&mut client, "by the view", "8");
    let config_of_view = config("readings", "");
    let mut forward = Forward::start(&scratch, &listener.socket, &config_of_view, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(server.sql("SELECT value FROM latest WHERE sensor = 'by the view'"), "8");
}

/// Makes a key and a certificate: of an authority, or one that an authority has certified.
#[cfg(feature = "tls")]
fn certify(directory: &Path, name: &str, by: Option<&str>, more: &[&str]) {
    let path = |name: &str, what: &str| directory.join(format!("{name}.{what}"));
    let mut command = std::process::Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj"])
        .arg(format!("/CN={name}"))
        .args(more.iter().flat_map(|extension| ["-addext", *extension]))
        .arg("-keyout")
        .arg(path(name, "key"))
        .arg("-out")
        .arg(path(name, "pem"))
        .stderr(std::process::Stdio::null());
    if let Some(by) = by {
        command.arg("-CA").arg(path(by, "pem")).arg("-CAkey").arg(path(by, "key"));
    }
    assert!(command.status().expect("openssl is there").success());
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_spoken_with_the_server_that_is_meant_and_with_nobody_else() {
    let scratch = Scratch::new("pgtls");
    let directory = scratch.join("keys");
    std::fs::create_dir(&directory).expect("a directory");
    let authority = ["basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign"];
    for name in ["authority", "stranger"] {
        certify(&directory, name, None, &authority);
    }
    let of_server = ["subjectAltName=DNS:localhost", "basicConstraints=critical,CA:false"];
    certify(&directory, "server", Some("authority"), &of_server);
    certify(&directory, "writer", Some("authority"), &["basicConstraints=critical,CA:false"]);
    let file = |name: &str| directory.join(name).display().to_string();
    let server = Server::start_on_tcp();
    for name in ["authority.pem", "server.pem", "server.key"] {
        server.give(name, &std::fs::read(directory.join(name)).expect("it was made"));
    }
    let set = |settings: &[&str]| {
        for setting in settings {
            server.sql(&format!("ALTER SYSTEM SET {setting}"));
        }
        server.sql("SELECT pg_reload_conf()");
        thread::sleep(Duration::from_millis(200));
    };
    server.sql("CREATE TABLE secrets (seq bigint, n bigint)");
    let listener = Listener::start(&scratch);
    let mut posted = 0;
    let run = |host: &str, more: &str, expected: Result<bool, &str>, posted: &mut u64| {
        post(&listener, *posted, *posted + 1);
        let url = format!("url = 'postgresql://postgres@{host}:{}/postgres", server.port());
        let config = config(&directory, "secrets", "").replace(
            &format!("url = 'host={} user=postgres'", directory.display()),
            &format!("{url}{more}"),
        );
        let config = format!("[shutdown]\ndrain_timeout_ms = 50\n{config}");
        let _ = std::fs::remove_file(scratch.join("forward.log"));
        let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
        match expected {
            Ok(is_protected) => {
                *posted += 1;
                let count = format!("SELECT count(*) FROM secrets WHERE n = {}", *posted - 1);
                eventually("the row", || (server.sql(&count) == "1").then_some(()));
                let query = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity \
                             USING (pid) WHERE application_name = 'aqueduct-forward'";
                assert_eq!(server.sql(query), if is_protected { "t" } else { "f" }, "{more}");
                assert_eq!(forward.stop(), 0, "{}", forward.process.log());
            }
            Err(why) => {
                eventually(why, || forward.process.log().contains(why).then_some(()));
                assert_eq!(forward.stop(), 3, "{more}");
                let count = format!("SELECT count(*) FROM secrets WHERE n = {posted}");
                assert_eq!(server.sql(&count), "0", "{more}");
                // What was not delivered goes with the next one.
                *posted += 1;
            }
        }
    };
    // A server without TLS.
    run("localhost", "?sslmode=require'", Err("does not support TLS"), &mut posted);
    run("localhost", "'", Ok(false), &mut posted);
    set(&["ssl_cert_file = 'server.pem'", "ssl_key_file = 'server.key'", "ssl = on"]);
    let (ours, other) = (file("authority.pem"), file("stranger.pem"));
    run("localhost", "'", Ok(true), &mut posted);
    run("localhost", "?sslmode=disable'", Ok(false), &mut posted);
    run("127.0.0.1", "?sslmode=require'", Ok(true), &mut posted);
    let full = format!("?sslmode=verify-full&sslrootcert={ours}'");
    run("localhost", &full, Ok(true), &mut posted);
    run("127.0.0.1", &full, Err("not valid for name"), &mut posted);
    let strange = format!("'\nsslmode = 'verify-full'\nca_file = '{other}'");
    run("localhost", &strange, Err("UnknownIssuer"), &mut posted);
    for mode in ["require", "verify-ca"] {
        let by = |file: &str| format!("'\nsslmode = '{mode}'\nca_file = '{file}'");
        run("127.0.0.1", &by(&ours), Ok(true), &mut posted);
        run("127.0.0.1", &by(&other), Err("UnknownIssuer"), &mut posted);
    }
    // A server that wants to know its clients, too.
    server.give(
        "pg_hba.conf",
        b"local all all trust\nhostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n",
    );
    set(&["ssl_ca_file = 'authority.pem'"]);
    run("localhost", &full, Err("certificate"), &mut posted);
    let known = format!(
        "{full}\ncert_file = '{}'\nkey_file = '{}'",
        file("writer.pem"),
        file("writer.key")
    );
    run("localhost", &known, Ok(true), &mut posted);
    assert_eq!(
        server.sql("SELECT count(*), count(DISTINCT n) FROM secrets"),
        format!("{posted}|{posted}")
    );
}

#[test]
fn a_url_file_that_is_written_anew_is_read_for_the_next_connection() {
    let server = Server::start();
    server.sql("CREATE TABLE renewed (seq bigint, n bigint); CREATE ROLE one LOGIN SUPERUSER");
    let scratch = Scratch::new("renewed");
    let listener = Listener::start(&scratch);
    let file = scratch.join("url");
    let write = |user: &str| {
        let url = format!("host={} user={user} dbname=postgres", server.directory().display());
        std::fs::write(&file, url).expect("written");
    };
    write("two");
    let config = config(Path::new("/nowhere"), "renewed", "").replace(
        "url = 'host=/nowhere user=postgres'",
        &format!("url_file = '{}'", file.display()),
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    post(&listener, 0, 1);
    forward.process.wait_for_log("role \\\"two\\\" does not exist");
    // Half written, then whole.
    std::fs::write(&file, "host").expect("written");
    forward.process.wait_for_log("sink.url");
    write("one");
    eventually("the row", || (server.sql("SELECT count(*) FROM renewed") == "1").then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
}

#[test]
fn a_session_that_ended_while_idle_is_not_used_and_a_server_that_hangs_is_told() {
    let mut server = Server::start();
    server.sql("CREATE TABLE idle (seq bigint, n bigint)");
    let scratch = Scratch::new("idle");
    let listener = Listener::start(&scratch);
    let more = "timeout_ms = 500\nmax_wait_ms = 3000\n[admin]\nready_age_ms = 5000";
    let config = config(&server.directory(), "idle", more).replace(
        "[[sink.columns]]\nname = 'seq'\nfield = 'seq'\n[[sink.columns]]\nname = 'n'\npointer = '/n'\n",
        "",
    );
    let config = config.replace(
        "[admin]",
        "columns = [{ name = 'seq', field = 'seq' }, { name = 'n', pointer = '/n' }]\n[admin]",
    );
    let flags = ["--admin-listen", "127.0.0.1:0"];
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &flags);
    let admin = forward.admin();
    for n in 0..3 {
        post(&listener, n, n + 1);
        let count = (n + 1).to_string();
        eventually("a row", || (server.sql("SELECT count(*) FROM idle") == count).then_some(()));
        thread::sleep(Duration::from_millis(50));
        server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'aqueduct-forward'",
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert!(metric(&get(admin, "/metrics").1, "retries_total") < 0.5, "nothing failed");
    // The server hangs: its socket takes bytes, and nobody answers.
    server.process().signal(Signal::STOP);
    let sessions = sessions(&server);
    post(&listener, 3, 4);
    eventually("not ready", || (get(admin, "/readyz").0 == 503).then_some(()));
    for session in &sessions {
        rustix::process::kill_process(*session, Signal::CONT).expect("it is the server's");
    }
    server.process().signal(Signal::CONT);
    let back = Instant::now();
    eventually("ready", || (get(admin, "/readyz").0 == 200).then_some(()));
    assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
    eventually("the row", || (server.sql("SELECT count(*) FROM idle") == "4").then_some(()));
    assert_eq!(forward.stop(), 0);
    has_each_once(&server, "idle", 4);
}

/// Stops the sessions of a server that is stopped itself, and returns them.
fn sessions(server: &Server) -> Vec<rustix::process::Pid> {
    let mut stopped = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("it is there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = line.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        let is_ours = parent.and_then(|it| it.parse::<u32>().ok()) == Some(server.pid());
        if is_ours && let Some(pid) = rustix::process::Pid::from_raw(pid) {
            rustix::process::kill_process(pid, Signal::STOP).expect("it is the server's");
            stopped.push(pid);
        }
    }
    stopped
}
