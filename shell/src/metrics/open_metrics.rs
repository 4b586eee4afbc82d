//! The metrics as `OpenMetrics` 1.0 has them: the text format of Prometheus, with exemplars.
//!
//! What differs from that: a family of counters is called as its samples are, without `_total`;
//! quotes in a help text are escaped; bounds of buckets are written in one way only; the end is
//! said. Source: the specification, `OpenMetrics` 1.0.0.

use std::fmt::Write;

use prometheus::proto::{Histogram, LabelPair, MetricFamily, MetricType};

use super::exemplars::Exemplar;

/// Media type of [`text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Which value of a family an exemplar is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A counter.
    Counter,
    /// A bucket of a histogram, by its index.
    Bucket(usize),
}

/// Writes all families. `exemplar` is asked for each counter and bucket, by the name of the family
/// and the labels.
pub(super) fn text(
    families: &[MetricFamily],
    exemplar: impl Fn(&str, &[LabelPair], Place) -> Option<Exemplar>,
) -> String {
    let mut out = String::with_capacity(16 << 10);
    for family in families {
        // Writing to a string cannot fail.
        let _ = write_family(&mut out, family, &exemplar);
    }
    out.push_str("# EOF\n");
    out
}

fn write_family(
    out: &mut String,
    family: &MetricFamily,
    exemplar: &impl Fn(&str, &[LabelPair], Place) -> Option<Exemplar>,
) -> std::fmt::Result {
    let name = family.name();
    let (bare, kind) = match family.get_field_type() {
        MetricType::COUNTER => (name.strip_suffix("_total").unwrap_or(name), "counter"),
        MetricType::HISTOGRAM => (name, "histogram"),
        _ => (name, "gauge"),
    };
    writeln!(out, "# TYPE {bare} {kind}")?;
    writeln!(out, "# HELP {bare} {}", escaped(family.help()))?;
    for metric in family.get_metric() {
        let labels = metric.get_label();
        match family.get_field_type() {
            MetricType::COUNTER => {
                let value = metric.get_counter().get_value();
                write!(out, "{bare}_total{} {value}", set(labels, None))?;
                write_exemplar(out, exemplar(name, labels, Place::Counter))?;
            }
            MetricType::HISTOGRAM => {
                let of = |index| exemplar(name, labels, Place::Bucket(index));
                write_histogram(out, name, labels, metric.get_histogram(), of)?;
            }
            _ => writeln!(out, "{name}{} {}", set(labels, None), metric.get_gauge().get_value())?,
        }
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &[LabelPair],
    histogram: &Histogram,
    exemplar: impl Fn(usize) -> Option<Exemplar>,
) -> std::fmt::Result {
    let count = histogram.get_sample_count();
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let mut index = 0;
    for bucket in finite {
        let bound = bound(bucket.upper_bound());
        write!(out, "{name}_bucket{} {}", set(labels, Some(&bound)), bucket.cumulative_count())?;
        write_exemplar(out, exemplar(index))?;
        index += 1;
    }
    write!(out, "{name}_bucket{} {count}", set(labels, Some("+Inf")))?;
    write_exemplar(out, exemplar(index))?;
    writeln!(out, "{name}_count{} {count}", set(labels, None))?;
    writeln!(out, "{name}_sum{} {}", set(labels, None), histogram.get_sample_sum())
}

/// Ends a line, with its exemplar if it has one.
fn write_exemplar(out: &mut String, exemplar: Option<Exemplar>) -> std::fmt::Result {
    if let Some(Exemplar { trace_id, span_id, value, at_ns }) = exemplar {
        let (trace, span) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
        let (seconds, ms) = (at_ns / 1_000_000_000, at_ns / 1_000_000 % 1000);
        write!(out, " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {value}")?;
        write!(out, " {seconds}.{ms:03}")?;
    }
    out.push('\n');
    Ok(())
}

/// Writes the labels, and the bound of a bucket after them.
fn set(labels: &[LabelPair], bound: Option<&str>) -> String {
    let pairs = labels.iter().map(|pair| (pair.name(), pair.value()));
    let pairs: Vec<String> = pairs
        .chain(bound.map(|bound| ("le", bound)))
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

/// Writes a bound in the canonical form: `0.25`, `1.0`, `1e-05`.
fn bound(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent < -4 => format!("{digits}e-{:02}", -exponent),
        _ if value.fract() == 0.0 => format!("{value:.1}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn bounds_are_written_in_one_way() {
        for (value, text) in [
            (1e-6, "1e-06"),
            (2.5e-5, "2.5e-05"),
            (1e-4, "0.0001"),
            (0.25, "0.25"),
            (1.0, "1.0"),
            (2048.0, "2048.0"),
        ] {
            assert_eq!(bound(value), text);
        }
    }

    #[test]
    fn a_trace_is_beside_its_bucket_and_its_reason() {
        let metrics = Metrics::new().expect("distinct names");
        let ring = metrics.ring("orders", 1024);
        let exemplar = |value, trace| Exemplar {
            trace_id: [trace; 16],
            span_id: [7; 8],
            value,
            at_ns: 1_500_000_000_250_000_000,
        };
        ring.traced(exemplar(2e-5, 1), None);
        ring.traced(exemplar(11.0, 2), None);
        ring.traced(exemplar(11.0, 3), None);
        ring.traced(exemplar(4.0, 4), Some("full"));
        ring.refused_many(crate::refusal::Refusal::Full, 4);
        metrics.certificate_expires("a\"b\\c\nd", Some(7));
        let text = metrics.open_metrics();
        assert!(text.contains(r#"{file="a\"b\\c\nd"} 7"#), "{text}");
        let line = |begin: &str| {
            let found = text.lines().find(|line| line.starts_with(begin));
            found.unwrap_or_else(|| panic!("no line {begin}:\n{text}")).to_owned()
        };
        let of = |trace: u8, value: &str| {
            let trace = format!("{trace:02x}").repeat(16);
            let span = "07".repeat(8);
            format!(" # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {value} 1500000000.250")
        };
        let latency = |bound: &str, count: u8| {
            let name = "aqueduct_traced_publish_seconds_bucket";
            format!("{name}{{ring=\"orders\",le=\"{bound}\"}} {count}")
        };
        assert_eq!(line(&latency("1e-05", 0)), latency("1e-05", 0));
        assert_eq!(line(&latency("2.5e-05", 1)), latency("2.5e-05", 1) + &of(1, "0.00002"));
        assert_eq!(line(&latency("10.0", 1)), latency("10.0", 1));
        assert_eq!(line(&latency("+Inf", 3)), latency("+Inf", 3) + &of(3, "11"));
        let refused = "aqueduct_records_rejected_total{reason=\"full\",ring=\"orders\"} 4";
        assert_eq!(line(refused), refused.to_owned() + &of(4, "4"));
        let other = "aqueduct_records_rejected_total{reason=\"denied\",ring=\"orders\"} 0";
        assert_eq!(line(other), other, "no trace was refused for that");
        assert!(text.contains("# TYPE aqueduct_records_rejected counter\n"), "{text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }
}
