//! What each command does.

use super::frame::Args;
use super::{record, reply};
use std::sync::Arc;

use crate::codec::{Access, Event, Kept, Login, Reason, Sink};
use crate::middleware::credentials::Credentials;

/// What the answer to `INFO` and `HELLO` says that we are compatible with: clients look for a
/// version that knows streams.
const REDIS_VERSION: &str = "7.0.0";

/// What a connection remembers.
pub(super) struct Session {
    id: u64,
    /// Who the client is.
    pub(super) login: Login,
    /// 2 or 3, as the client asked.
    protocol: u8,
    /// Goes with every record.
    kept: Kept,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Executed {
    /// It is answered.
    Answered,
    /// There is no room for its records: it is to be tried again.
    Full,
    /// A worker is needed: it is to be tried again afterwards.
    Away,
    /// It is answered, or deserves no answer, and the connection ends.
    Close,
}

/// An error reply.
pub(super) type Parts<'a> = &'a [&'a str];

impl Session {
    pub(super) fn new(id: u64, kept: Kept) -> Self {
        Self { id, login: Login::default(), protocol: 2, kept }
    }

    /// Executes one command.
    pub(super) fn execute<S: Sink>(
        &mut self,
        mut args: Args<'_>,
        credentials: Option<&Arc<dyn Credentials>>,
        sink: &mut S,
        out: &mut Vec<u8>,
    ) -> Executed {
        let Some(name) = args.next() else { return Executed::Answered };
        let mut upper = [0; 8];
        let Some(upper) = upper.get_mut(..name.len()) else {
            return unknown(name, out);
        };
        upper.copy_from_slice(name);
        upper.make_ascii_uppercase();
        if !self.login.is_in(credentials)
            && !matches!(&*upper, b"AUTH" | b"HELLO" | b"QUIT" | b"POST" | b"HOST:")
        {
            reply::error(out, &["NOAUTH Authentication required."]);
            return Executed::Answered;
        }
        if matches!(&*upper, b"XADD" | b"RPUSH" | b"LPUSH" | b"PUBLISH")
            && let Some(ring) = args.clone().next()
            && let Some(known) = sink.ring(ring)
            && !self.login.may_write(credentials, sink.name(known.id))
        {
            let values = if upper.ends_with(b"PUSH") { args.count() as u64 - 1 } else { 1 };
            let (ring, reason) = (Some(known.id), Reason::Denied);
            sink.note(Event::Rejected { ring, reason, records: values });
            reply::error(out, &["NOPERM these credentials may not write to this ring"]);
            return Executed::Answered;
        }
        match &*upper {
            b"XADD" => {
                let owner = self.login.name().unwrap_or("").as_bytes();
                return record::xadd(args, owner, &self.kept, sink, out);
            }
            b"RPUSH" | b"LPUSH" => return record::push(name, args, &self.kept, sink, out),
            b"PUBLISH" => return record::publish(args, &self.kept, sink, out),
            b"PING" => ping(args, out),
            b"ECHO" => match (args.next(), args.next()) {
                (Some(message), None) => reply::bulk(out, message),
                _ => wrong_number("echo", out),
            },
            b"AUTH" => return self.auth(args, credentials, out),
            b"HELLO" => return self.hello(args, credentials, out),
            b"SELECT" => match (args.next(), args.next()) {
                (Some(b"0"), None) => reply::ok(out),
                (Some(_), None) => reply::error(out, &["ERR DB index is out of range"]),
                _ => wrong_number("select", out),
            },
            b"CLIENT" => self.client(args, out),
            b"COMMAND" => command(args, out),
            b"INFO" => info(out),
            b"XLEN" => record::xlen(args, sink, out),
            b"QUIT" => {
                reply::ok(out);
                return Executed::Close;
            }
            // A browser that was made to talk to this port: what it sends in its body must not be
            // taken for commands.
            b"POST" | b"HOST:" => {
                sink.note(Event::ProtocolError);
                return Executed::Close;
            }
            _ => return unknown(name, out),
        }
        Executed::Answered
    }

    fn auth(
        &mut self,
        mut args: Args<'_>,
        credentials: Option<&Arc<dyn Credentials>>,
        out: &mut Vec<u8>,
    ) -> Executed {
        let (name, secret) = match (args.next(), args.next(), args.next()) {
            (Some(secret), None, None) => (&b"default"[..], secret),
            (Some(name), Some(secret), None) => (name, secret),
            _ => {
                wrong_number("auth", out);
                return Executed::Answered;
            }
        };
        self.authenticate((name, secret), credentials, out).unwrap_or_else(|| {
            reply::ok(out);
            Executed::Answered
        })
    }

    /// Checks credentials; answers if they are not granted. `None`: they are.
    fn authenticate(
        &mut self,
        (name, secret): (&[u8], &[u8]),
        credentials: Option<&Arc<dyn Credentials>>,
        out: &mut Vec<u8>,
    ) -> Option<Executed> {
        let error = match self.login.ask(credentials, name, secret) {
            Access::Granted => return None,
            Access::Away => return Some(Executed::Away),
            Access::Denied => "WRONGPASS invalid username-password pair",
            Access::Busy => "ERR no time or memory to check the password: try again",
            Access::Open => "ERR AUTH called though no credentials are configured",
        };
        reply::error(out, &[error]);
        Some(Executed::Answered)
    }

    /// `HELLO [2|3 [AUTH name secret] [SETNAME name]]`. Newer clients begin with 3 and some know no
    /// way back. Of what it adds only the map is used, in this answer.
    fn hello(
        &mut self,
        mut args: Args<'_>,
        credentials: Option<&Arc<dyn Credentials>>,
        out: &mut Vec<u8>,
    ) -> Executed {
        let error = |parts: &[&str], out: &mut Vec<u8>| {
            reply::error(out, parts);
            Executed::Answered
        };
        let protocol = match args.next() {
            None => self.protocol,
            Some(b"2") => 2,
            Some(b"3") => 3,
            Some(_) => return error(&["NOPROTO unsupported protocol version"], out),
        };
        while let Some(option) = args.next() {
            if option.eq_ignore_ascii_case(b"AUTH") {
                let (Some(name), Some(secret)) = (args.next(), args.next()) else {
                    return error(&["ERR Syntax error in HELLO option 'AUTH'"], out);
                };
                if let Some(executed) = self.authenticate((name, secret), credentials, out) {
                    return executed;
                }
            } else if !option.eq_ignore_ascii_case(b"SETNAME") || args.next().is_none() {
                return error(&["ERR Syntax error in HELLO option"], out);
            }
        }
        if !self.login.is_in(credentials) {
            let detail = "NOAUTH HELLO must be called with the client already authenticated, \
                          otherwise the HELLO <proto> AUTH <user> <pass> option can be used";
            return error(&[detail], out);
        }
        self.protocol = protocol;
        if protocol == 3 {
            reply::map(out, 7);
        } else {
            reply::array(out, 14);
        }
        for (key, value) in [("server", "aqueduct"), ("version", REDIS_VERSION)] {
            reply::bulk(out, key.as_bytes());
            reply::bulk(out, value.as_bytes());
        }
        for (key, number) in [("proto", u64::from(protocol)), ("id", self.id)] {
            reply::bulk(out, key.as_bytes());
            reply::integer(out, number);
        }
        for (key, value) in [("mode", "standalone"), ("role", "master")] {
            reply::bulk(out, key.as_bytes());
            reply::bulk(out, value.as_bytes());
        }
        reply::bulk(out, b"modules");
        reply::array(out, 0);
        Executed::Answered
    }

    /// What client libraries say about themselves; nothing of it is kept.
    fn client(&self, mut args: Args<'_>, out: &mut Vec<u8>) {
        let Some(name) = args.next() else { return wrong_number("client", out) };
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match (args.next(), args.next(), args.next()) {
            (None, _, _) if is(b"ID") => reply::integer(out, self.id),
            (Some(_), None, _) if is(b"SETNAME") => reply::ok(out),
            (Some(_), Some(_), None) if is(b"SETINFO") => reply::ok(out),
            _ if is(b"ID") => wrong_number("client|id", out),
            _ if is(b"SETNAME") => wrong_number("client|setname", out),
            _ if is(b"SETINFO") => wrong_number("client|setinfo", out),
            _ => {
                let name = printable(name);
                reply::error(out, &["ERR unknown subcommand '", &name, "' of CLIENT"]);
            }
        }
    }
}

fn ping(mut args: Args<'_>, out: &mut Vec<u8>) {
    match (args.next(), args.next()) {
        (None, _) => out.extend_from_slice(b"+PONG\r\n"),
        (Some(message), None) => reply::bulk(out, message),
        (Some(_), Some(_)) => wrong_number("ping", out),
    }
}

/// `COMMAND`, `COMMAND DOCS …`, `COMMAND INFO …`: there is no table; `COMMAND COUNT`: of none.
fn command(mut args: Args<'_>, out: &mut Vec<u8>) {
    match args.next() {
        Some(name) if name.eq_ignore_ascii_case(b"COUNT") => reply::integer(out, 0),
        _ => reply::array(out, 0),
    }
}

fn info(out: &mut Vec<u8>) {
    let text = [
        "# Server\r\nredis_version:",
        REDIS_VERSION,
        "\r\nredis_mode:standalone\r\naqueduct_version:",
        env!("CARGO_PKG_VERSION"),
        "\r\n\r\n# Replication\r\nrole:master\r\n",
    ];
    reply::bulk(out, text.concat().as_bytes());
}

fn unknown(name: &[u8], out: &mut Vec<u8>) -> Executed {
    reply::error(out, &["ERR unknown command '", &printable(name), "'"]);
    Executed::Answered
}

/// The error for a command with too many or too few arguments.
pub(super) fn wrong_number(command: &str, out: &mut Vec<u8>) {
    reply::error(out, &["ERR wrong number of arguments for '", command, "' command"]);
}

/// The beginning of something that a client sent, for a message.
pub(super) fn printable(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(64).map(|byte| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    });
    shown.collect()
}
