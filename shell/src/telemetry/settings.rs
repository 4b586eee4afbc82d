//! The `[otel]` table of the configuration.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{
    Change, ConfigError, Given, Millis, Origin, Section, list, quoted, time, written_time,
};

/// Why nothing of it changes by a reload.
const STARTED: Change = Change::Fixed("what is sent to the collector is settled at the start");
/// Names of what is sent.
const SIGNALS: [&str; 3] = ["traces", "metrics", "logs"];

/// `[otel]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtelTable {
    /// Where the collector takes OTLP over HTTP.
    pub endpoint: Option<Given<String>>,
    /// What is sent to it.
    pub signals: Option<Given<Vec<String>>>,
    /// Which part of requests without a trace begins one.
    pub root_ratio: Option<Given<f64>>,
    /// How often metrics are sent.
    pub metrics_interval_ms: Option<Given<Millis>>,
    /// How long the collector may take for one request.
    pub timeout_ms: Option<Given<Millis>>,
    /// The name of this service.
    pub service_name: Option<Given<String>>,
}

/// What is sent to a collector, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelSettings {
    /// Its host and port, as they were written.
    pub authority: String,
    /// Its host: a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What stands before `/v1/traces`: nothing, or a path without a slash at its end.
    pub base: String,
    /// Whether spans are sent.
    pub traces: bool,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Whether lines of the log are sent.
    pub logs: bool,
    /// Which part of requests without a trace begins one, 0 to 1.
    pub root_ratio: f64,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
    /// How long the collector may take for one request.
    pub timeout: Duration,
    /// The name of this service.
    pub service_name: String,
}

impl OtelSettings {
    /// Checks the table; `None` if nothing is sent.
    pub fn check(table: &OtelTable) -> Result<Option<Self>, ConfigError> {
        let Some(Given { value: endpoint, origin }) = &table.endpoint else {
            return match orphan(table) {
                None => Ok(None),
                Some((key, origin)) => {
                    Err(ConfigError::value(origin, key, "it", "it together with otel.endpoint"))
                }
            };
        };
        if !cfg!(feature = "otel") {
            let allowed = "a program that was built with the cargo feature `otel`";
            return Err(ConfigError::value(*origin, "otel.endpoint", endpoint, allowed));
        }
        let Some((authority, host, port, base)) = split(endpoint) else {
            let allowed = "http://HOST:PORT, with a path if the collector has one";
            return Err(ConfigError::value(*origin, "otel.endpoint", endpoint, allowed));
        };
        let default = SIGNALS.map(str::to_owned).to_vec();
        let signals = table.signals.as_ref().map_or(&default, |given| &given.value);
        let origin = table.signals.as_ref().map_or(Origin::Default, |given| given.origin);
        if let Some(unknown) = signals.iter().find(|name| !SIGNALS.contains(&name.as_str())) {
            let allowed = "\"traces\", \"metrics\", \"logs\"";
            return Err(ConfigError::value(origin, "otel.signals", unknown, allowed));
        }
        if signals.is_empty() {
            let allowed = "at least one; nothing is sent without otel.endpoint";
            return Err(ConfigError::value(origin, "otel.signals", "[]", allowed));
        }
        let sends = |signal: &str| signals.iter().any(|name| name == signal);
        let ratio = table.root_ratio.as_ref();
        let root_ratio = ratio.map_or(0.0, |given| given.value);
        if !(0.0..=1.0).contains(&root_ratio) {
            let origin = ratio.map_or(Origin::Default, |given| given.origin);
            return Err(ConfigError::value(origin, "otel.root_ratio", root_ratio, "0 to 1"));
        }
        let interval = table.metrics_interval_ms.as_ref();
        let service_name = table.service_name.as_ref();
        Ok(Some(Self {
            traces: sends("traces"),
            metrics: sends("metrics"),
            logs: sends("logs"),
            authority,
            host,
            port,
            base,
            root_ratio,
            metrics_interval: time("otel.metrics_interval_ms", interval, 30_000, 100)?,
            timeout: time("otel.timeout_ms", table.timeout_ms.as_ref(), 10_000, 1)?,
            service_name: service_name.map_or("aqueduct", |given| &given.value).to_owned(),
        }))
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &OtelTable) -> Section {
        let mut section = Section::new("[otel]");
        if let Some(given) = &table.endpoint {
            section.put("endpoint", quoted(&given.value), Some(given), STARTED);
        }
        let sent = SIGNALS.into_iter().zip([self.traces, self.metrics, self.logs]);
        let sent = list(sent.filter(|(_, is_sent)| *is_sent).map(|(signal, _)| signal));
        section.put("signals", sent, table.signals.as_ref(), STARTED);
        let ratio = format!("{:?}", self.root_ratio);
        section.put("root_ratio", ratio, table.root_ratio.as_ref(), STARTED);
        let interval = written_time(self.metrics_interval);
        let given = table.metrics_interval_ms.as_ref();
        section.put("metrics_interval_ms", interval, given, STARTED);
        let timeout = written_time(self.timeout);
        section.put("timeout_ms", timeout, table.timeout_ms.as_ref(), STARTED);
        let name = quoted(&self.service_name);
        section.put("service_name", name, table.service_name.as_ref(), STARTED);
        section
    }
}

/// Finds a setting that means nothing without a collector.
fn orphan(table: &OtelTable) -> Option<(&'static str, Origin)> {
    fn origin<T>(given: Option<&Given<T>>) -> Option<Origin> {
        given.map(|given| given.origin)
    }
    [
        ("otel.signals", origin(table.signals.as_ref())),
        ("otel.root_ratio", origin(table.root_ratio.as_ref())),
        ("otel.metrics_interval_ms", origin(table.metrics_interval_ms.as_ref())),
        ("otel.timeout_ms", origin(table.timeout_ms.as_ref())),
        ("otel.service_name", origin(table.service_name.as_ref())),
    ]
    .into_iter()
    .find_map(|(key, origin)| Some((key, origin?)))
}

/// Splits `http://HOST:PORT[/PATH]` into host and port as written, host, port, and path.
fn split(endpoint: &str) -> Option<(String, String, u16, String)> {
    let rest = endpoint.strip_prefix("http://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = authority.rsplit_once(':')?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let path = path.trim_end_matches('/');
    let is_good = !bare.is_empty() && is_plain(authority) && is_plain(path);
    is_good.then(|| (authority.to_owned(), bare.to_owned(), port, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_a_port_and_perhaps_a_path() {
        for (endpoint, parts) in [
            ("http://127.0.0.1:4318", Some(("127.0.0.1", 4318, ""))),
            ("http://collector:4318/", Some(("collector", 4318, ""))),
            ("http://[::1]:4318/otlp/", Some(("::1", 4318, "/otlp"))),
            ("http://collector", None),
            ("https://collector:4318", None),
            ("http://:4318", None),
            ("http://::1:4318", None),
            ("http://a b:4318", None),
            ("http://a:0", None),
            ("collector:4318", None),
        ] {
            let found = split(endpoint).map(|(_, host, port, base)| (host, port, base));
            let parts = parts.map(|(host, port, base)| (host.to_owned(), port, base.to_owned()));
            assert_eq!(found, parts, "{endpoint}");
        }
    }

    #[test]
    fn settings_without_a_collector_are_refused() {
        assert!(matches!(OtelSettings::check(&OtelTable::default()), Ok(None)));
        let ratio = Some(Given::by_default(0.5));
        let table = OtelTable { root_ratio: ratio, ..OtelTable::default() };
        let error = OtelSettings::check(&table).expect_err("nobody to send to").to_string();
        assert!(error.contains("otel.root_ratio"), "{error}");
    }

    #[cfg(feature = "otel")]
    #[test]
    fn a_ratio_is_a_part_and_signals_have_names() {
        let endpoint = Some(Given::by_default("http://127.0.0.1:4318".to_owned()));
        let table = OtelTable { endpoint, ..OtelTable::default() };
        let settings = OtelSettings::check(&table).expect("good").expect("sent");
        assert!(settings.traces && settings.metrics && settings.logs);
        for bad in [-0.1, 1.1, f64::NAN] {
            let root_ratio = Some(Given::by_default(bad));
            let table = OtelTable { root_ratio, ..table.clone() };
            assert!(OtelSettings::check(&table).is_err(), "{bad}");
        }
        let signals = Some(Given::by_default(vec!["spans".to_owned()]));
        assert!(OtelSettings::check(&OtelTable { signals, ..table.clone() }).is_err());
        let signals = Some(Given::by_default(Vec::new()));
        let nothing = OtelSettings::check(&OtelTable { signals, ..table }).expect_err("no signal");
        assert!(nothing.to_string().contains("otel.signals"), "{nothing}");
    }

    #[cfg(feature = "otel")]
    #[test]
    fn what_is_left_out_has_defaults_and_what_is_given_is_in_effect() {
        let describe = |table: &OtelTable| {
            let settings = OtelSettings::check(table).expect("good").expect("sent");
            let entries = settings.describe(table).entries;
            let lines = entries.iter().map(|entry| format!("{} = {}", entry.key, entry.value));
            lines.collect::<Vec<_>>().join("; ")
        };
        let endpoint = Some(Given::by_default("http://a:1/x".to_owned()));
        let table = OtelTable { endpoint, ..OtelTable::default() };
        assert_eq!(
            describe(&table),
            "endpoint = \"http://a:1/x\"; signals = [\"traces\", \"metrics\", \"logs\"]; \
             root_ratio = 0.0; metrics_interval_ms = \"30s\"; timeout_ms = \"10s\"; \
             service_name = \"aqueduct\""
        );
        let signals = Some(Given::by_default(vec!["metrics".to_owned()]));
        let service_name = Some(Given::by_default("s".to_owned()));
        let root_ratio = Some(Given::by_default(1.0));
        let timeout_ms = Some(Given::by_default(Millis(1)));
        let table = OtelTable { signals, root_ratio, timeout_ms, service_name, ..table };
        assert_eq!(
            describe(&table),
            "endpoint = \"http://a:1/x\"; signals = [\"metrics\"]; root_ratio = 1.0; \
             metrics_interval_ms = \"30s\"; timeout_ms = \"1ms\"; service_name = \"s\""
        );
    }
}
