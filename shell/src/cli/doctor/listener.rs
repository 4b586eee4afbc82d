//! The listener: its sockets, whether it runs and is ready, and its readers.

use std::io;
use std::net::TcpListener;
use std::path::Path;

use aqueduct_client::{OpenError, Options};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;

use super::{Check, DoctorArgs};
use crate::cli::http;
use crate::cli::text::word;
use crate::config::Endpoint;
use crate::server::{self, Config};

/// The commands that are recommended, so that they find the listener that was looked at.
struct Ways {
    /// `aqueduct top --once`
    top: String,
    /// `aqueduct reload`
    reload: String,
    /// `aqueduct serve`
    serve: String,
    /// ` --socket PATH`
    socket: String,
}

impl Ways {
    fn new(host: Option<&str>, path: &Path, args: &DoctorArgs) -> Self {
        let socket = format!(" --socket {}", word(&path.to_string_lossy()));
        let config = args.listener.config.as_ref();
        let config = config
            .map_or(String::new(), |file| format!(" --config {}", word(&file.to_string_lossy())));
        let admin = host.map_or(config.clone(), |host| format!(" --admin {}", word(host)));
        let given = if args.listener.socket.is_some() { &*socket } else { "" };
        Self {
            top: format!("aqueduct top --once{admin}"),
            reload: format!("aqueduct reload{socket}"),
            serve: format!("aqueduct serve{config}{given}"),
            socket,
        }
    }

    fn inspect(&self, ring: &str) -> String {
        format!("aqueduct inspect --ring {}{}", word(ring), self.socket)
    }
}

/// The pages of a listener that runs.
pub(super) struct Running {
    client: http::Client,
    host: String,
}

/// Where the pages for operators are, by flag or settings.
fn address(settings: &Config, args: &DoctorArgs) -> Option<String> {
    let http = || settings.http.listen.socket_addr().map(|address| address.to_string());
    args.admin
        .clone()
        .or_else(|| settings.admin.listen.map(|address| address.to_string()))
        .or_else(http)
}

/// Finds a listener that answers.
pub(super) fn find(settings: &Config, args: &DoctorArgs) -> Option<Running> {
    let host = address(settings, args)?;
    let mut client = http::Client::for_pages(&host);
    let is_there = client.get("/healthz").is_ok_and(|answer| answer.status == 200);
    is_there.then_some(Running { client, host })
}

pub(super) fn checks(settings: &Config, args: &DoctorArgs, running: Option<Running>) -> Vec<Check> {
    let mut checks = Vec::new();
    files(settings, args, &mut checks);
    let path = args.listener.socket.as_deref().unwrap_or(&settings.control.socket);
    let mut running = running;
    let ways = Ways::new(running.as_ref().map(|running| &*running.host), path, args);
    let ring = first_ring(settings, args, running.as_mut());
    let is_attached = control(path, ring.as_deref(), &ways, &mut checks);
    match running {
        Some(mut running) => {
            checks.push(Check::good("listener", format!("it answers at {}", running.host)));
            ready(&mut running, &ways, &mut checks);
            let found = findings(&mut running, &ways, &mut checks);
            readers(&mut running, &found, &ways, &mut checks);
        }
        None if is_attached => {
            let text = "its pages for operators do not answer where the settings say";
            checks.push(Check::warning("listener", text, "give --admin HOST:PORT"));
        }
        None => {
            checks.push(Check::warning("listener", "none runs", &*ways.serve));
            addresses(settings, &mut checks);
        }
    }
    checks
}

/// Names a ring of the listener, if one is known: without a name, one with several rings refuses,
/// and counts a reader that does not know its ring.
fn first_ring(
    settings: &Config,
    args: &DoctorArgs,
    running: Option<&mut Running>,
) -> Option<String> {
    let page = running.and_then(|running| running.client.get("/v1/rings").ok());
    let rings = page.filter(|page| page.status == 200);
    let rings: Option<Value> = rings.and_then(|page| serde_json::from_slice(&page.body).ok());
    if let Some(rings) = rings {
        return rings["rings"][0]["name"].as_str().map(str::to_owned);
    }
    let has_settings = args.listener.config.is_some();
    settings.rings.first().filter(|_| has_settings).map(|ring| ring.name.clone())
}

/// Attaches as an observer; without a ring that is known, it connects only. Returns the ring that
/// it observed.
fn attach(path: &Path, ring: Option<&str>) -> Result<Option<String>, OpenError> {
    if let Some(ring) = ring {
        return Options::new(path).ring(ring).observe().map(|it| Some(it.info().name.clone()));
    }
    let connect = || {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    connect().map(|()| None).map_err(|errno: rustix::io::Errno| OpenError::System {
        call: "connect",
        errno: errno.raw_os_error(),
    })
}

/// Whether readers can attach, or a listener could make its socket.
fn control(path: &Path, ring: Option<&str>, ways: &Ways, checks: &mut Vec<Check>) -> bool {
    const NAME: &str = "control socket";
    let place = path.display();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let (check, is_attached) = match attach(path, ring) {
        Ok(Some(ring)) => {
            let text = format!("{place}: an observer attaches to ring {ring}");
            (Check::good(NAME, text), true)
        }
        Ok(None) => (Check::good(NAME, format!("{place}: a listener takes connections")), true),
        // It answers: no such ring, or no right to observe.
        Err(error @ OpenError::Refused { .. }) => match error.refusal() {
            Some(aqueduct_client::Status::NotPermitted) => {
                let mend = format!("allow_uids or allow_gids in [control], then {}", ways.reload);
                (Check::warning(NAME, format!("{place}: {error}"), mend), true)
            }
            _ => (Check::good(NAME, format!("{place}: a listener answers")), true),
        },
        Err(OpenError::System { errno, .. }) => {
            let kind = io::Error::from_raw_os_error(errno).kind();
            let check = match kind {
                io::ErrorKind::PermissionDenied => {
                    let text = format!("{place}: this user may not connect");
                    Check::failure(NAME, text, format!("usermod -aG $(stat -c %G {place}) $USER"))
                }
                io::ErrorKind::ConnectionRefused => {
                    let text = format!("{place}: left by a listener that has ended");
                    // The next one replaces it.
                    Check::good(NAME, text)
                }
                _ if !directory.is_dir() => {
                    let text = format!("{}: no such directory", directory.display());
                    let mend = format!("install -d -m 0755 {}", directory.display());
                    Check::failure(NAME, text, mend)
                }
                _ => {
                    let access = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK);
                    match access {
                        Ok(()) => Check::good(NAME, format!("{place} can be made")),
                        Err(error) => {
                            let text = format!("{}: {error}", directory.display());
                            let mend = "--socket PATH in a directory that this user may write";
                            Check::failure(NAME, text, mend)
                        }
                    }
                }
            };
            (check, false)
        }
        Err(error) => {
            let mend = "look at the log of the process that has it: ss -xlp";
            (Check::failure(NAME, format!("{place}: {error}"), mend), false)
        }
    };
    checks.push(check);
    is_attached
}

/// Whether the addresses could be bound.
fn addresses(settings: &Config, checks: &mut Vec<Check>) {
    let mut all = vec![settings.http.listen.clone()];
    all.extend(settings.listen.iter().map(|listen| listen.endpoint.clone()));
    let admin = settings.admin.listen.into_iter();
    let tcp = all.iter().filter_map(Endpoint::socket_addr).chain(admin);
    for address in tcp {
        checks.push(match TcpListener::bind(address) {
            Ok(_) => Check::good("address", format!("{address} can be bound")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let mend = format!("ss -ltnp 'sport = :{}'", address.port());
                Check::failure("address", format!("{address}: another process has it"), mend)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let mend = "AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, or a port \
                            from 1024 on";
                Check::failure("address", format!("{address}: {error}"), mend)
            }
            Err(error) => {
                Check::failure("address", format!("{address}: {error}"), "ip address show")
            }
        });
    }
}

fn ready(running: &mut Running, ways: &Ways, checks: &mut Vec<Check>) {
    let check = match running.client.get("/readyz") {
        Ok(answer) if answer.status == 200 => Check::good("ready", "records are taken"),
        Ok(answer) => {
            let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            let text = value["detail"].as_str().unwrap_or("it does not say why").to_owned();
            Check::failure("ready", text, &*ways.top)
        }
        Err(error) => Check::failure("ready", error.to_string(), "look at the listener's log"),
    };
    checks.push(check);
}

/// Whether the files that the settings name can be used: certificates, credentials, descriptors.
fn files(settings: &Config, args: &DoctorArgs, checks: &mut Vec<Check>) {
    checks.push(match server::check_files(settings) {
        Ok(()) => Check::good("files", "those that the settings name can be used"),
        Err(error) => {
            let config = args.listener.config.as_ref();
            let flag = config.map_or(String::new(), |file| format!(" --config {}", file.display()));
            Check::failure("files", error.to_string(), format!("aqueduct check-config{flag}"))
        }
    });
}

/// What the listener itself finds wrong, all of it. Returns of which readers it speaks, and how:
/// kind, ring and subscription.
fn findings(running: &mut Running, ways: &Ways, checks: &mut Vec<Check>) -> Vec<[String; 3]> {
    let mut of_readers = Vec::new();
    let Ok(answer) = running.client.get("/v1/status") else { return of_readers };
    let status: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if answer.status == 503 {
        let why = status["detail"].as_str().unwrap_or("not now");
        let text = format!("{} does not tell what the listener finds: {why}", running.host);
        let port = running.host.rsplit(':').next().unwrap_or_default();
        let mend =
            format!("ss -tnp 'dport = :{port}' says whose they are; raise [admin] max_connections");
        checks.push(Check::warning("finding", text, mend));
    }
    for finding in status["findings"].as_array().into_iter().flatten() {
        let said = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let (kind, ring, forwarder) = (said("kind"), said("ring"), said("forwarder"));
        let reader = said("reader");
        let place = match (&*ring, &*reader) {
            ("", _) => forwarder.clone(),
            (_, "") => ring.clone(),
            _ => format!("ring {ring}, subscription {reader}"),
        };
        if !reader.is_empty() {
            of_readers.push([kind.clone(), ring.clone(), reader.clone()]);
        }
        let text = [place.as_str(), &said("text")].map(str::to_owned);
        let text = text.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let (is_failure, mend) = match kind.as_str() {
            "reader_stuck" | "reader_slow" => {
                (kind == "reader_stuck", evict(&running.host, &ring, &reader))
            }
            "reader_absent" => (false, START_IT.to_owned()),
            "certificate_ends" => (
                text.contains("has ended"),
                format!("put the new certificate and key in their place, then {}", ways.reload),
            ),
            "ring_full" => (true, format!("{}: mend or start the reader that is last", ways.top)),
            "ring_closed" | "ring_damaged" => (true, ways.inspect(&ring)),
            "journal_refuses" => (
                true,
                "df -h; make room, or mend the disk and restart the listener; aqueduct inspect \
                 DIRECTORY says what is there"
                    .to_owned(),
            ),
            "journal_waits" => {
                (true, "dmesg -T | tail; iostat -x 5: mend the disk, or the way to it".to_owned())
            }
            "journal_damaged" => (
                true,
                "aqueduct journal verify DIRECTORY; dmesg -T | tail: the log of the start says \
                 which records; have them sent again, then restart the listener"
                    .to_owned(),
            ),
            "connections_refused" => {
                (false, "raise [http] max_connections; ss -tnp says whose they are".to_owned())
            }
            "admin_connections_refused" => {
                (false, "raise [admin] max_connections; ss -tnp says whose they are".to_owned())
            }
            "log_lines_dropped" => {
                (false, "whatever takes stderr is too slow: systemctl status aqueduct".to_owned())
            }
            "forwarder_behind" => (false, format!("curl http://{forwarder}/readyz, and its log")),
            "forwarder_unreachable" => (false, "start it, or mend [admin] forwarders".to_owned()),
            _ => (false, format!("{}, and the log", ways.top)),
        };
        let make = if is_failure { Check::failure } else { Check::warning };
        let name = if reader.is_empty() { "finding" } else { "readers" };
        checks.push(make(name, text, mend));
    }
    let left_out = status["findings_left_out"].as_u64().unwrap_or(0);
    if left_out > 0 {
        let text = format!("there are {left_out} findings more");
        checks.push(Check::warning("finding", text, "mend these first"));
    }
    of_readers
}

/// What to do about a subscription that nobody reads.
const START_IT: &str = "start its program, or take the subscription out of the ring's \
                        `subscriptions` and restart the listener";

/// What to do about a reader that holds the others up.
fn evict(host: &str, ring: &str, subscription: &str) -> String {
    format!(
        "look at its program; curl -X DELETE \
         http://{host}/v1/rings/{ring}/readers/{subscription} evicts it"
    )
}

/// What the listener says of its rings and readers, beside what it finds wrong with them.
fn readers(running: &mut Running, found: &[[String; 3]], ways: &Ways, checks: &mut Vec<Check>) {
    let host = running.host.clone();
    let answer = running.client.get("/v1/rings");
    let rings: Value = match &answer {
        Ok(answer) if answer.status == 200 => {
            serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
        }
        Ok(answer) if answer.status == 503 => {
            let text = format!("{host} does not tell of its readers now");
            checks.push(Check::warning("readers", text, "as above, then aqueduct doctor again"));
            return;
        }
        _ => {
            let text = format!("{host} has no pages for operators: readers were not looked at");
            checks.push(Check::warning("readers", text, "admin.listen = \"127.0.0.1:9090\""));
            return;
        }
    };
    let before = checks.len();
    let is_found =
        |kind: &str, ring: &str, reader: &str| found.iter().any(|it| [kind, ring, reader] == *it);
    for ring in rings["rings"].as_array().into_iter().flatten() {
        let name = ring["name"].as_str().unwrap_or("?");
        for reader in ring["readers"].as_array().into_iter().flatten() {
            let number = |field: &str| reader[field].as_u64().unwrap_or(0);
            let subscription = reader["name"].as_str().unwrap_or("?");
            let place = format!("ring {name}, subscription {subscription}");
            let held = number("lag_bytes");
            // The findings are as of the latest sample, this is of now.
            let is_absent = reader["state"] == "detached" && held > 0;
            if is_absent && !is_found("reader_absent", name, subscription) {
                let text = format!("{place}: no reader is attached, and {held} bytes wait for one");
                checks.push(Check::warning("readers", text, START_IT));
            }
            let (corrupt, lost) = (number("corrupt"), number("lost_records"));
            if (corrupt > 0 || lost > 0) && !is_found("ring_damaged", name, subscription) {
                let text = format!("{place}: it saw {corrupt} damaged places, {lost} records lost");
                checks.push(Check::failure("readers", text, ways.inspect(name)));
            }
            let missed = number("missed_wakes");
            if missed > 0 {
                let text = format!("{place}: {missed} times it slept although there was data");
                checks.push(Check::warning("readers", text, "update its reader library"));
            }
        }
    }
    if checks.len() == before && found.is_empty() {
        checks.push(Check::good("readers", "none is behind"));
    }
}
