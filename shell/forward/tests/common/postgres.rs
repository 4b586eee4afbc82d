//! A `PostgreSQL` server of our own, on a socket in our directory, run by a user without
//! privileges; and a proxy before it that cuts the connection at a message.
#![allow(unreachable_pub, reason = "as in `common`")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Process, Scratch, eventually};

/// The account that Debian's package makes for the server.
const ACCOUNT: &str = "postgres";

pub struct Server {
    scratch: Scratch,
    programs: PathBuf,
    /// Of its socket's name, and where it listens if it does.
    port: u16,
    listens: bool,
    process: Option<Process>,
}

impl Server {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        Self::start_at(5432, false)
    }

    /// One that also listens at a port of 127.0.0.1.
    #[allow(dead_code, reason = "only the test of TLS wants it")]
    pub fn start_on_tcp() -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        Self::start_at(free.expect("a port").port(), true)
    }

    fn start_at(port: u16, listens: bool) -> Self {
        let scratch = Scratch::new("pg");
        let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
            .expect("Debian's postgresql is installed, see .ci/setup")
            .map(|entry| entry.expect("an entry").path().join("bin"))
            .filter(|path| path.join("initdb").exists())
            .collect();
        versions.sort();
        let programs = versions.pop().expect("a server is installed");
        let mut server = Self { scratch, programs, port, listens, process: None };
        for name in ["data", "run"] {
            fs::create_dir(server.scratch.join(name)).expect("a directory");
        }
        fs::set_permissions(server.directory(), fs::Permissions::from_mode(0o777)).expect("ours");
        if rustix::process::getuid().is_root() {
            let ours = [server.scratch.join("data"), server.scratch.join("run")];
            let given = Command::new("chown").arg("-R").arg(ACCOUNT).args(ours).status();
            assert!(given.expect("it runs").success());
        }
        let made = server
            .command("initdb")
            .args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "-D"])
            .arg(server.scratch.join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("it runs").success(), "initdb");
        server.run();
        server
    }

    /// A copy that follows this server, and that this one waits for at every commit.
    #[allow(dead_code, reason = "only the test of a failover wants it")]
    pub fn standby(&self) -> Self {
        let scratch = Scratch::new("pgstandby");
        let programs = self.programs.clone();
        let mut standby =
            Self { scratch, programs, port: self.port, listens: false, process: None };
        for name in ["data", "run"] {
            fs::create_dir(standby.scratch.join(name)).expect("a directory");
        }
        let data = standby.scratch.join("data");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("ours");
        fs::set_permissions(standby.directory(), fs::Permissions::from_mode(0o777)).expect("ours");
        if rustix::process::getuid().is_root() {
            let ours = [data.clone(), standby.directory()];
            let given = Command::new("chown").arg("-R").arg(ACCOUNT).args(ours).status();
            assert!(given.expect("it runs").success());
        }
        let copied = standby
            .command("pg_basebackup")
            .args(["-U", "postgres", "-c", "fast", "-X", "stream", "-R", "--no-sync", "-p"])
            .arg(self.port.to_string())
            .arg("-h")
            .arg(self.directory())
            .arg("-D")
            .arg(data)
            .status();
        assert!(copied.expect("it runs").success(), "pg_basebackup");
        standby.run();
        self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.sql("SELECT pg_reload_conf()");
        eventually("it follows", || {
            let query = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            (self.sql(query) == "1").then_some(())
        });
        standby
    }

    /// A program of the server, as a user without privileges.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !rustix::process::getuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={ACCOUNT}")).arg(format!("--regid={ACCOUNT}"));
        command.args(["--clear-groups", "--pdeathsig", "KILL"]).arg(program);
        command
    }

    /// Starts the server, which may have been killed, and waits until it answers.
    pub fn run(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.scratch.join("data")).arg("-k").arg(self.directory());
        let addresses = if self.listens { "127.0.0.1" } else { "" };
        command.arg("-c").arg(format!("listen_addresses={addresses}"));
        command.arg("-c").arg(format!("port={}", self.port));
        for setting in ["fsync=off", "max_connections=30", "shared_buffers=16MB"] {
            command.args(["-c", setting]);
        }
        command.stdout(Stdio::null());
        // What is left of one that was killed may be in the way for a moment.
        eventually("the server answers", || {
            let log = self.scratch.join("server.log");
            let process = self.process.get_or_insert_with(|| Process::start(&mut command, log));
            if !process.is_running() {
                self.process = None;
                return None;
            }
            self.ask("SELECT 1").ok().map(|_| ())
        });
    }

    /// Where its socket is.
    pub fn directory(&self) -> PathBuf {
        self.scratch.join("run")
    }

    #[allow(dead_code, reason = "only the test of TLS wants it")]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Puts a file beside its data, for nobody else to read.
    #[allow(dead_code, reason = "only the test of TLS wants it")]
    pub fn give(&self, name: &str, content: &[u8]) {
        let path = self.scratch.join("data").join(name);
        fs::write(&path, content).expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        if rustix::process::getuid().is_root() {
            let given = Command::new("chown").arg(ACCOUNT).arg(path).status();
            assert!(given.expect("it runs").success());
        }
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it was started").pid()
    }

    /// SIGKILL to the server; its sessions end when they see it.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// What a query answers: rows as lines, columns with `|`.
    pub fn ask(&self, query: &str) -> Result<String, String> {
        let output = Command::new("psql")
            .args(["-X", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-Atc", query, "-p"])
            .arg(self.port.to_string())
            .arg("-h")
            .arg(self.directory())
            .output()
            .expect("psql is installed");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    #[track_caller]
    pub fn sql(&self, query: &str) -> String {
        self.ask(query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::CONT);
            process.signal(Signal::QUIT);
            let _ = process.wait_for(Duration::from_secs(10));
        }
    }
}

/// Passes messages on, and cuts the connection once.
pub struct Proxy {
    shared: Arc<Shared>,
}

struct Shared {
    server: PathBuf,
    /// Messages from clients so far.
    count: AtomicUsize,
    /// The one at which the connection is cut.
    cut: usize,
    /// Whether the server gets it, and its answer is lost.
    is_after: bool,
    is_cut: AtomicBool,
}

impl Proxy {
    /// Listens in `directory` as a server would.
    pub fn start(directory: &Path, server: &Path, cut: usize, is_after: bool) -> Self {
        let socket = directory.join(".s.PGSQL.5432");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).expect("a socket");
        let shared = Arc::new(Shared {
            server: server.join(".s.PGSQL.5432"),
            count: AtomicUsize::new(0),
            cut,
            is_after,
            is_cut: AtomicBool::new(false),
        });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&all);
                thread::spawn(move || shared.pass(client));
            }
        });
        Self { shared }
    }

    /// Whether the message came at which it cuts.
    pub fn has_cut(&self) -> bool {
        // ORDER(none): a flag of a test, read after the process has ended.
        self.shared.is_cut.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn pass(&self, mut client: UnixStream) -> Option<()> {
        let mut server = UnixStream::connect(&self.server).ok()?;
        let is_mute = Arc::new(AtomicBool::new(false));
        let (mut from, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
        let mute = Arc::clone(&is_mute);
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(bytes @ 1..) = from.read(&mut piece) {
                if !mute.load(Ordering::SeqCst) && to.write_all(&piece[..bytes]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let mut has_type = false; // the first message has none
        loop {
            let mut message = vec![0; if has_type { 5 } else { 4 }];
            if client.read_exact(&mut message).is_err() {
                let _ = server.shutdown(std::net::Shutdown::Both);
                return None;
            }
            let len = message[message.len() - 4..].try_into().map(u32::from_be_bytes).ok()?;
            let head = message.len();
            message.resize(head + len as usize - 4, 0);
            client.read_exact(&mut message[head..]).ok()?;
            has_type = true;
            let is_here = self.count.fetch_add(1, Ordering::Relaxed) == self.cut;
            if is_here {
                self.is_cut.store(true, Ordering::Relaxed);
                if self.is_after {
                    is_mute.store(true, Ordering::SeqCst);
                    let _ = server.write_all(&message);
                    // Time to do it.
                    thread::sleep(Duration::from_millis(30));
                }
                let _ = server.shutdown(std::net::Shutdown::Both);
                let _ = client.shutdown(std::net::Shutdown::Both);
                return None;
            }
            server.write_all(&message).ok()?;
        }
    }
}
