//! The listener: its sockets, whether it runs and is ready, and its readers.

use std::io;
use std::net::TcpListener;
use std::path::Path;

use aqueduct_client::{OpenError, Options};
use serde_json::Value;

use super::{Check, DoctorArgs};
use crate::cli::http;
use crate::config::Endpoint;
use crate::server::{self, Config};

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
    let is_attached = control(path, &mut checks);
    match running {
        Some(mut running) => {
            checks.push(Check::good("listener", format!("it answers at {}", running.host)));
            ready(&mut running, &mut checks);
            findings(&mut running, &mut checks);
            readers(&mut running, &mut checks);
        }
        None if is_attached => {
            let text = "its pages for operators do not answer where the settings say";
            checks.push(Check::warning("listener", text, "give --admin HOST:PORT"));
        }
        None => {
            checks.push(Check::warning("listener", "none runs", "aqueduct serve"));
            addresses(settings, &mut checks);
        }
    }
    checks
}

/// Whether readers can attach, or a listener could make its socket.
fn control(path: &Path, checks: &mut Vec<Check>) -> bool {
    const NAME: &str = "control socket";
    let place = path.display();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let (check, is_attached) = match Options::new(path).observe() {
        Ok(client) => {
            let text = format!("{place}: an observer attaches to ring {}", client.info().name);
            (Check::good(NAME, text), true)
        }
        // It answers: several rings, or no right to observe.
        Err(error @ OpenError::Refused { .. }) => match error.refusal() {
            Some(aqueduct_client::Status::NotPermitted) => {
                let mend = "allow_uids or allow_gids in [control], then aqueduct reload";
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

fn ready(running: &mut Running, checks: &mut Vec<Check>) {
    let check = match running.client.get("/readyz") {
        Ok(answer) if answer.status == 200 => Check::good("ready", "records are taken"),
        Ok(answer) => {
            let value: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
            let text = value["detail"].as_str().unwrap_or("it does not say why").to_owned();
            Check::failure("ready", text, "aqueduct top --once")
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

/// What the listener itself finds wrong. Readers that are behind are looked at in [`readers`].
fn findings(running: &mut Running, checks: &mut Vec<Check>) {
    let Ok(answer) = running.client.get("/v1/status") else { return };
    let status: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    for finding in status["findings"].as_array().into_iter().flatten() {
        let said = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let (kind, ring, forwarder) = (said("kind"), said("ring"), said("forwarder"));
        let place = if ring.is_empty() { &forwarder } else { &ring };
        let text = [place.as_str(), &said("text")].map(str::to_owned);
        let text = text.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let (is_failure, mend) = match kind.as_str() {
            "reader_stuck" | "reader_slow" | "reader_absent" => continue,
            "certificate_ends" => (
                text.contains("has ended"),
                "put the new certificate and key in their place, then aqueduct reload".to_owned(),
            ),
            "ring_full" => (true, "aqueduct top: mend or start the reader that is last".to_owned()),
            "ring_closed" | "ring_damaged" => (true, format!("aqueduct inspect --ring {ring}")),
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
            "log_lines_dropped" => {
                (false, "whatever takes stderr is too slow: systemctl status aqueduct".to_owned())
            }
            "forwarder_behind" => (false, format!("curl http://{forwarder}/readyz, and its log")),
            "forwarder_unreachable" => (false, "start it, or mend [admin] forwarders".to_owned()),
            _ => (false, "aqueduct top --once, and the log".to_owned()),
        };
        let make = if is_failure { Check::failure } else { Check::warning };
        checks.push(make("finding", text, mend));
    }
}

/// What the listener says of its rings and readers.
fn readers(running: &mut Running, checks: &mut Vec<Check>) {
    let host = running.host.clone();
    let answer = running.client.get("/v1/rings");
    let rings: Value = match &answer {
        Ok(answer) if answer.status == 200 => {
            serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
        }
        _ => {
            let text = format!("{host} has no pages for operators: readers were not looked at");
            checks.push(Check::warning("readers", text, "admin.listen = \"127.0.0.1:9090\""));
            return;
        }
    };
    let before = checks.len();
    for ring in rings["rings"].as_array().into_iter().flatten() {
        let name = ring["name"].as_str().unwrap_or("?");
        for reader in ring["readers"].as_array().into_iter().flatten() {
            let number = |field: &str| reader[field].as_u64().unwrap_or(0);
            let subscription = reader["name"].as_str().unwrap_or("?");
            let place = format!("ring {name}, subscription {subscription}");
            let held = number("lag_bytes");
            let seconds = reader["lag_seconds"].as_f64().unwrap_or(0.0);
            if reader["state"] == "detached" && held > 0 {
                let text = format!("{place}: no reader is attached, and {held} bytes wait for one");
                let mend = "start its program, or take the subscription out of the ring's \
                            `subscriptions` and restart the listener";
                checks.push(Check::warning("readers", text, mend));
            } else if held > 0 && seconds > 10.0 {
                let text = format!("{place}: its oldest record waits for {seconds:.0} s");
                let mend = format!(
                    "look at its program; curl -X DELETE \
                     http://{host}/v1/rings/{name}/readers/{subscription} evicts it"
                );
                checks.push(Check::warning("readers", text, mend));
            }
            let (corrupt, lost) = (number("corrupt"), number("lost_records"));
            if corrupt > 0 || lost > 0 {
                let text = format!("{place}: it saw {corrupt} damaged places, {lost} records lost");
                checks.push(Check::failure(
                    "readers",
                    text,
                    format!("aqueduct inspect --ring {name}"),
                ));
            }
            let missed = number("missed_wakes");
            if missed > 0 {
                let text = format!("{place}: {missed} times it slept although there was data");
                checks.push(Check::warning("readers", text, "update its reader library"));
            }
        }
    }
    if checks.len() == before {
        checks.push(Check::good("readers", "none is behind"));
    }
}
