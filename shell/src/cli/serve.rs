//! `aqueduct serve`: its flags, how they and the environment go over the file, and the process.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::EXIT_USAGE;
use crate::config::{
    Address, ConfigError, Endpoint, Given, Millis, Origin, Size, Source, VARIABLE_PREFIX, key_of,
    misspelt,
};
use crate::ingress::event_loop::driver::Choice;
use crate::log::{LogFormat, LogLevel};
use crate::ring::RingFlags;
use crate::server::{Config, Loaded, Tables};
use crate::supervisor::{Supervisor, Told};
#[cfg(feature = "otel")]
use crate::telemetry;
use crate::{log, server};

/// Variables of the environment that stand for a flag which is no key of a table.
const VARIABLES: [&str; 6] = [
    "AQUEDUCT_CONFIG",
    "AQUEDUCT_RING",
    "AQUEDUCT_CAPACITY_BYTES",
    "AQUEDUCT_MAX_PAYLOAD_BYTES",
    "AQUEDUCT_FULL_WAIT_MS",
    "AQUEDUCT_SUBSCRIPTION",
];

/// Flags of `aqueduct serve`. A flag wins over the environment, and that over the file.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    /// TOML file with the rings and all other settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where HTTP is served, HOST:PORT or unix:PATH; port 0 takes a free one [default:
    /// 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Endpoint>,
    /// Control socket that readers attach through [default: $XDG_RUNTIME_DIR/aqueduct.sock, else
    /// /run/aqueduct.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// A ring to make, instead of those in the file; may be repeated [default: default]
    #[arg(long, value_name = "NAME")]
    pub ring: Vec<String>,
    /// Size of each ring: 32 times a power of two, as 65536 or 64KiB [default: 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub capacity_bytes: Option<Size>,
    /// Largest record of each ring [default: 1MiB, or what the capacity allows if that is less]
    #[arg(long, value_name = "SIZE")]
    pub max_payload_bytes: Option<Size>,
    /// A subscription of each ring, which holds records back even while nobody is attached; may be
    /// repeated [default: default]
    #[arg(long, value_name = "NAME")]
    pub subscription: Vec<String>,
    /// How long a request waits for space in a full ring, as 250 (ms) or 2s [default: 1s]
    #[arg(long, value_name = "TIME")]
    pub full_wait_ms: Option<Millis>,
    /// How long a shutdown waits for requests and readers [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub drain_timeout_ms: Option<Millis>,
    /// How long a request head may take to arrive [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub header_timeout_ms: Option<Millis>,
    /// How long a request body may take to arrive [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub body_timeout_ms: Option<Millis>,
    /// An address for health and metrics alone [default: they are beside the records]
    #[arg(long, value_name = "HOST:PORT")]
    pub admin_listen: Option<Address>,
    /// Speak TLS with a certificate that is made at the start and nobody has signed, for trying
    #[arg(long)]
    pub tls_self_signed: bool,
    /// How connections are served; auto is io_uring where it works, else epoll [default: auto]
    #[arg(long, value_name = "DRIVER", value_enum)]
    pub driver: Option<Choice>,
    /// Most HTTP connections at once [default: 1024]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u64>,
    /// Least severe level that is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<LogLevel>,
    /// Shape of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

impl ServeArgs {
    /// Reads the file that flags or environment name, puts both over it, and checks the result.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        check_variables()?;
        let path =
            self.config.clone().or_else(|| std::env::var_os(VARIABLES[0]).map(PathBuf::from));
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let source = Source::read(path.as_deref(), variables, &Tables::ONCE)?;
        let mut tables: Tables = source.parse()?;
        self.put_over(&mut tables);
        self.ring_flags()?.put_over(&mut tables.ring);
        let config = Config::check(&tables).map_err(|error| error.located(&source))?;
        Ok(Loaded { path, source, tables, config })
    }

    fn put_over(&self, tables: &mut Tables) {
        fn put<T: Clone>(to: &mut Option<Given<T>>, flag: Option<&T>, name: &'static str) {
            if let Some(given) = Given::by_flag(flag.cloned(), name) {
                *to = Some(given);
            }
        }
        let self_signed = self.tls_self_signed.then_some(true);
        put(&mut tables.tls.self_signed, self_signed.as_ref(), "--tls-self-signed");
        let (http, server, log) = (&mut tables.http, &mut tables.server, &mut tables.log);
        put(&mut http.listen, self.listen.as_ref(), "--listen");
        put(&mut http.header_timeout_ms, self.header_timeout_ms.as_ref(), "--header-timeout-ms");
        put(&mut http.body_timeout_ms, self.body_timeout_ms.as_ref(), "--body-timeout-ms");
        put(&mut http.max_connections, self.max_connections.as_ref(), "--max-connections");
        put(&mut tables.admin.listen, self.admin_listen.as_ref(), "--admin-listen");
        put(&mut tables.control.socket, self.socket.as_ref(), "--socket");
        put(&mut server.drain_timeout_ms, self.drain_timeout_ms.as_ref(), "--drain-timeout-ms");
        put(&mut tables.ingest.driver, self.driver.as_ref(), "--driver");
        put(&mut log.level, self.log_level.as_ref(), "--log-level");
        put(&mut log.format, self.log_format.as_ref(), "--log-format");
    }

    fn ring_flags(&self) -> Result<RingFlags, ConfigError> {
        let several = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
        let [_, ring, capacity, max_payload, full_wait, subscription] = VARIABLES;
        let names = |text: &str| Ok(text.split(',').map(|name| name.trim().to_owned()).collect());
        let size = |text: &str| text.parse::<Size>();
        let time = |text: &str| text.parse::<Millis>();
        Ok(RingFlags {
            names: flag_or(several(&self.ring), "--ring", ring, names)?,
            capacity_bytes: flag_or(self.capacity_bytes, "--capacity-bytes", capacity, size)?,
            max_payload_bytes: flag_or(
                self.max_payload_bytes,
                "--max-payload-bytes",
                max_payload,
                size,
            )?,
            full_wait_ms: flag_or(self.full_wait_ms, "--full-wait-ms", full_wait, time)?,
            subscriptions: flag_or(
                several(&self.subscription),
                "--subscription",
                subscription,
                names,
            )?,
        })
    }
}

/// The value of a flag, or of the variable that stands for it.
fn flag_or<T>(
    value: Option<T>,
    flag: &'static str,
    variable: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<Given<T>>, ConfigError> {
    if value.is_some() {
        return Ok(Given::by_flag(value, flag));
    }
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    let value = parse(&text).map_err(|message| ConfigError::Parse {
        place: variable.to_owned(),
        message: format!("`{text}`: {message}"),
    })?;
    Ok(Some(Given { value, origin: Origin::Variable(variable) }))
}

/// Refuses variables whose names are a slip away from one of ours, and settings that are no text,
/// which would be left out in silence. Other programs have variables that begin as ours do.
fn check_variables() -> Result<(), ConfigError> {
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        // Not the first: a path may be any bytes.
        let is_setting =
            VARIABLES[1..].contains(&name.as_str()) || key_of(&name, &Tables::ONCE).is_some();
        if is_setting && value.to_str().is_none() {
            let message = format!("{} is not UTF-8", value.display());
            return Err(ConfigError::Parse { place: name, message });
        }
        let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let meant = misspelt(&name, &VARIABLES).map(str::to_owned).or_else(|| {
            let (table, key) = rest.split_once('_')?;
            let table = misspelt(&table.to_ascii_lowercase(), &Tables::ONCE)?;
            Some(format!("{VARIABLE_PREFIX}{}_{key}", table.to_ascii_uppercase()))
        });
        if let Some(meant) = meant {
            let message = format!("unknown variable; did you mean `{meant}`?");
            return Err(ConfigError::Parse { place: name, message });
        }
    }
    Ok(())
}

/// Serves until a signal ends it.
pub(super) fn run(args: ServeArgs) -> ExitCode {
    // First: what else opens a descriptor must not be taken for one that was handed over.
    let supervisor = Arc::new(Supervisor::from_environment());
    let failed = |reason: &str| {
        supervisor.tell(&Told::Failed(reason));
        supervisor.flush();
        log::last_words(&format!("aqueduct: {reason}"));
    };
    let loaded = match args.load() {
        Ok(loaded) => Arc::new(loaded),
        Err(error) => {
            failed(&error.to_string());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    #[cfg(feature = "otel")]
    let further = loaded.config.otel.as_ref().and_then(|settings| {
        telemetry::start(settings);
        telemetry::lines()
    });
    #[cfg(not(feature = "otel"))]
    let further = None;
    log::start_with(loaded.config.log, further);
    // The runtime panics where the system refuses it a thread or a descriptor; that is logged.
    let load: server::Load = Arc::new(move || args.load());
    let serve = AssertUnwindSafe(|| server::run(&loaded, load, &supervisor));
    match std::panic::catch_unwind(serve) {
        Ok(Ok(())) => {
            supervisor.flush();
            log::flush();
            ExitCode::SUCCESS
        }
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            supervisor.tell(&Told::Failed(said.unwrap_or("a panic; the log says where")));
            supervisor.flush();
            log::flush();
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            failed(&error.to_string());
            ExitCode::FAILURE
        }
    }
}
