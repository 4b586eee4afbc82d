//! The release binary, started on a journal directory as on a machine that was just booted.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where everything is.
pub struct Place {
    pub binary: PathBuf,
    pub scratch: PathBuf,
    pub journal: PathBuf,
    pub durability: &'static str,
}

/// A listener that runs.
pub struct Listener {
    child: Child,
    pub http: SocketAddr,
}

impl Place {
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("aqd.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    /// Starts it, after so many boots. `Ok(None)` if it ends instead of being ready.
    pub fn start(&self, boots: u64) -> io::Result<Option<Listener>> {
        let file = self.scratch.join("aqueduct.toml");
        let text = format!(
            "[server]\ndrain_timeout_ms = 50\n[journal]\ndirectory = \"{}\"\nsegment_bytes = \"64KiB\"\ncursor_sync_ms = 20\n\
             [[ring]]\nname = \"default\"\ncapacity_bytes = \"64KiB\"\nfull_wait_ms = 0\n\
             durability = \"{}\"\n",
            self.journal.display(),
            self.durability
        );
        std::fs::write(&file, text)?;
        // Another boot has another name, which a mount over the kernel's file gives.
        let boot = self.scratch.join("boot_id");
        std::fs::write(&boot, format!("00000000-0000-4000-8000-{boots:012x}\n"))?;
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
        let mut child = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script])
            .arg(&boot)
            .arg(&self.binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .arg("--socket")
            .arg(self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().create(true).append(true).open(self.scratch.join("log"))?)
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line)?;
        let http = line.split_whitespace().find_map(|part| part.strip_prefix("http="));
        match http.and_then(|http| http.parse().ok()) {
            Some(http) => Ok(Some(Listener { child, http })),
            None => {
                ended(&mut child)?;
                Ok(None)
            }
        }
    }
}

impl Listener {
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        ended(&mut self.child).map(drop)
    }

    /// Ends it in order.
    pub fn terminate(mut self) -> io::Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        ended(&mut self.child)
    }
}

fn ended(child: &mut Child) -> io::Result<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("the listener does not end"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A fresh directory for everything.
pub fn scratch() -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("aqueduct-lossy-{}", std::process::id()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// Removes it, if nothing is mounted there any more.
pub fn remove(scratch: &Path) {
    let _ = std::fs::remove_dir(scratch.join("disk"));
    let _ = std::fs::remove_dir_all(scratch);
}
