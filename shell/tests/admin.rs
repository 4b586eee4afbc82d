//! What operators ask at their own address: rings, readers, eviction, readiness.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::reader::Attached;
use common::{Server, get};
use serde_json::Value;

const ADMIN: [&str; 2] = ["--admin-listen", "127.0.0.1:0"];

fn admin(server: &Server) -> SocketAddr {
    server.admin.expect("it has an address")
}

fn json(server: &Server, path: &str) -> Value {
    let response = Server::exchange_at(admin(server), get(path));
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_str(&response.body).expect("JSON")
}

fn delete(server: &Server, path: &str) -> common::Response {
    let request = format!("DELETE {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    Server::exchange_at(admin(server), request)
}

#[test]
fn a_ring_shows_how_far_each_reader_is_behind() {
    let flags = ["--subscription", "quick", "--subscription", "none", "--capacity-bytes", "1024"];
    let server = Server::start(&[&ADMIN[..], &flags].concat());
    let mut quick = Attached::attach(&server.socket, "", "quick");
    // Nothing is behind an empty ring.
    let ring = json(&server, "/v1/rings/default");
    assert_eq!(ring["readers"][1]["lag_seconds"], 0.0, "{ring}");
    for payload in [&[1; 100][..], &[2; 100], &[3; 1]] {
        assert_eq!(server.post("default", payload).status, 202);
    }
    for seq in 0..2 {
        assert_eq!(quick.next().map(|record| record.0), Some(seq));
    }
    quick.release();
    std::thread::sleep(Duration::from_millis(20));
    let ring = json(&server, "/v1/rings/default");
    assert_eq!((&ring["name"], &ring["state"]), (&"default".into(), &"open".into()), "{ring}");
    assert_eq!((&ring["next_seq"], &ring["capacity_bytes"]), (&3.into(), &1024.into()));
    assert_eq!(ring["epoch"].as_str().map(str::len), Some(16));
    // A record of 100 bytes takes five granules, one of 1 byte two.
    assert_eq!((&ring["tail"], &ring["used_bytes"]), (&12.into(), &384.into()), "{ring}");
    let reader = |index: usize, key: &str| ring["readers"][index][key].clone();
    assert_eq!((reader(0, "name"), reader(1, "name")), ("quick".into(), "none".into()));
    assert_eq!((reader(0, "state"), reader(1, "state")), ("attached".into(), "detached".into()));
    assert_eq!((reader(0, "cursor"), reader(1, "cursor")), (10.into(), 0.into()));
    assert_eq!((reader(0, "lag_records"), reader(1, "lag_records")), (1.into(), 3.into()));
    assert_eq!((reader(0, "lag_bytes"), reader(1, "lag_bytes")), (64.into(), 384.into()));
    let seconds = |index| reader(index, "lag_seconds").as_f64().expect("a number");
    assert!(0.02 <= seconds(0) && seconds(0) <= seconds(1) && seconds(1) < 60.0, "{ring}");
    let all = json(&server, "/v1/rings");
    assert_eq!(all["rings"][0]["name"], "default");
    assert_eq!(all["rings"].as_array().map(Vec::len), Some(1));
}

#[test]
fn lag_is_right_where_the_ring_wraps() {
    let flags = ["--capacity-bytes", "256", "--full-wait-ms", "0"];
    let server = Server::start(&[&ADMIN[..], &flags].concat());
    let mut reader = Attached::attach(&server.socket, "", "");
    for round in 0..40 {
        let bytes = [31, 64, 1, 33][round % 4];
        assert_eq!(server.post("default", &vec![7; bytes]).status, 202, "round {round}");
        let ring = json(&server, "/v1/rings/default");
        assert_eq!(ring["readers"][0]["lag_records"], 1, "round {round}: {ring}");
        assert!(reader.next().is_some(), "round {round}");
        reader.release();
        let ring = json(&server, "/v1/rings/default");
        assert_eq!(ring["readers"][0]["lag_records"], 0, "round {round}: {ring}");
        assert_eq!(ring["readers"][0]["lag_bytes"], 0, "round {round}: {ring}");
    }
}

#[test]
fn an_evicted_reader_is_gone_and_what_it_held_back_is_still_there() {
    let server = Server::start(&ADMIN);
    let mut reader = Attached::attach(&server.socket, "", "default");
    assert_eq!(server.post("default", b"x").status, 202);
    assert_eq!(reader.next().map(|record| record.0), Some(0));
    let path = "/v1/rings/default/readers/default";
    assert_eq!(delete(&server, path).status, 204);
    reader.assert_ended();
    let ring = json(&server, "/v1/rings/default");
    assert_eq!(ring["readers"][0]["state"], "detached");
    assert_eq!(ring["readers"][0]["lag_records"], 1);
    let metrics = Server::exchange_at(admin(&server), get("/metrics")).body;
    let evicted = "aqueduct_evictions_total{reason=\"operator\",ring=\"default\"} 1";
    assert!(metrics.contains(evicted), "{metrics}");
    // Another one goes on from there.
    let mut next = Attached::attach(&server.socket, "", "default");
    assert_eq!(next.next().map(|record| record.0), Some(0));

    delete(&server, "/v1/rings/default/readers/none").assert_problem(404);
    delete(&server, "/v1/rings/none/readers/default").assert_problem(404);
    delete(&server, "/v1/rings/default").assert_problem(405);
    drop(next);
    server.eventually("nobody is attached", || {
        delete(&server, path).body.contains("no reader is attached")
    });
    let response = Server::exchange_at(admin(&server), get(path));
    response.assert_problem(405);
    assert_eq!(response.header("allow"), Some("delete"));
    let foreign = format!(
        "DELETE {path} HTTP/1.1\r\nhost: t\r\norigin: https://evil.example\r\n\
         connection: close\r\n\r\n"
    );
    Server::exchange_at(admin(&server), foreign).assert_problem(403);
}

#[test]
fn operators_have_their_own_address_or_no_say_about_readers() {
    let server = Server::start(&[]);
    server.get("/v1/rings").assert_problem(404);
    server.get("/openapi.json").assert_problem(404);
    let request = "DELETE /v1/rings/default/readers/default HTTP/1.1\r\nhost: t\r\n\r\n";
    server.exchange(request).assert_problem(404);
}

#[test]
fn readiness_names_what_refuses_records() {
    let flags = ["--capacity-bytes", "128", "--full-wait-ms", "0", "--max-connections", "1"];
    let server = Server::start(&[&ADMIN[..], &flags].concat());
    let ready = || Server::exchange_at(admin(&server), get("/readyz"));
    assert_eq!(ready().status, 200);
    let open = server.connect();
    server.eventually("the only place is taken", || ready().status == 503);
    ready().assert_problem(503);
    assert!(ready().body.contains("all places for connections are taken"));
    drop(open);
    server.eventually("it is free again", || ready().status == 200);
    // The place of the last request may not be free yet: that is a 503, too.
    server.eventually("the ring is full", || {
        server.post("default", &[0; 32]).body.contains("stayed full")
    });
    let not_ready = ready();
    assert!(not_ready.body.contains("ring default is full"), "{not_ready:?}");
    assert_eq!(json(&server, "/v1/rings/default")["state"], "full");
}

#[test]
fn the_description_is_of_what_there_is() {
    let server = Server::start(&ADMIN);
    let document = json(&server, "/openapi.json");
    let paths = document["paths"].as_object().expect("an object");
    assert_eq!(paths.len(), 12);
    for (path, methods) in paths {
        let path = path.replace("{ring}", "default").replace("{name}", "none");
        let methods = methods.as_object().expect("an object");
        for (method, described) in methods {
            let request = format!(
                "{} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
                method.to_uppercase()
            );
            if method == "head" {
                // It has a length and no body.
                continue;
            }
            let response = Server::exchange_at(admin(&server), request);
            let status = response.status.to_string();
            assert!(described["responses"].get(&status).is_some(), "{method} {path}: {status}");
        }
        let post = format!("POST {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        Server::exchange_at(admin(&server), post).assert_problem(405);
    }
}
