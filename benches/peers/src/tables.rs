//! The results as Markdown, for `benches/README.md`.

use std::fmt::Write;

use crate::plots::{BARS, PLOTS};
use crate::results::{Measure, Run};
use crate::targets::targets;

const RECORD: &str = "ns per record";
/// As `benches/run` calls it.
const CRC_INSTRUCTIONS: &str = "CRC instructions";

/// Everything between the markers of the page.
pub fn page(run: &Run) -> String {
    let mut page = String::new();
    header(run, &mut page);
    target_table(run, &mut page);
    limit_table(run, &mut page);
    thread_tables(run, &mut page);
    process_tables(run, &mut page);
    trip_tables(run, &mut page);
    mapping_table(run, &mut page);
    growth_section(run, &mut page);
    wrapped(&page)
}

/// The numbers of the front page, in a sentence, and the picture of one of them.
pub fn front(run: &Run) -> String {
    let cost = |subject, bytes| {
        let with = [("bytes", bytes), ("batch", 1)];
        brief(run.find("processes", subject, &with, RECORD))
    };
    let trip = |way: &str| brief(run.find(&format!("trips, {way}"), "ring", &[], "p50 ns"));
    let of = |name: &str| run.machine.get(name).map_or("", String::as_str);
    let (cores, model) = of("cores").split_once(" of ").unwrap_or(("?", "unknown processor"));
    let path = match of(CRC_INSTRUCTIONS) {
        "" => String::new(),
        all if all.contains("avx512vl") && all.contains(" vpclmulqdq") => {
            ", the CRC by 64 bytes (AVX-512)".into()
        }
        all if all.contains("avx2") && all.contains(" vpclmulqdq") => {
            ", the CRC by 32 bytes (AVX2)".into()
        }
        all => format!(", the CRC by {all}"),
    };
    let text = format!(
        "**It costs** {} ns to carry a record of 64 bytes from one process to another, {} ns for 1 KiB, both \
         checksums made and checked; a pipe costs {} ns and {} ns. A round trip takes {} ns while both sides \
         look, {} us when both sleep. Undisturbed rounds on {cores} cores of an {model}{path}, {}; \
         [all of them, and the misses](benches/README.md).",
        cost("ring, C reader", 64),
        cost("ring, C reader", 1024),
        cost("pipe", 64),
        cost("pipe", 1024),
        trip("busy"),
        run.find("trips, sleep", "ring", &[], "p50 ns")
            .map_or_else(|| "–".into(), |sleep| digits(sleep.shown().0 / 1000.0)),
        run.date,
    );
    wrapped(&format!("{text}\n\n![{}](benches/results/{}.svg)\n", BARS.title, BARS.file))
}

/// Prose in lines of at most 100 columns; tables and pictures as they are.
fn wrapped(page: &str) -> String {
    let mut lines = String::new();
    for paragraph in page.lines() {
        let mut column = 0;
        let fixed = paragraph.starts_with(['|', '!', '#']);
        for word in paragraph.split(' ') {
            let width = word.chars().count();
            if column > 0 && (fixed || column + 1 + width <= 100) {
                lines.push(' ');
                column += 1;
            } else if column > 0 {
                lines.push('\n');
                column = 0;
            }
            lines.push_str(word);
            column += width;
        }
        lines.push('\n');
    }
    lines
}

/// Three digits.
fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Quiet, and the median with its spread.
fn cell(measure: Option<&Measure>) -> String {
    measure.map_or_else(
        || "–".into(),
        |measure| {
            let (low, high) = measure.spread;
            format!(
                "**{}** · {} ({}–{})",
                digits(measure.quiet),
                digits(measure.median),
                digits(low),
                digits(high)
            )
        },
    )
}

fn brief(measure: Option<&Measure>) -> String {
    measure.map_or_else(|| "–".into(), |measure| digits(measure.shown().0))
}

/// How many times more one takes than the other: quiet by quiet, and the median of the rounds'
/// ratios.
fn ratio(measure: Option<&Measure>, base: Option<&Measure>) -> String {
    let (Some(measure), Some(base)) = (measure, base) else { return "–".into() };
    let rounds =
        measure.ratios.get(&base.subject).map_or_else(|| "–".into(), |&ratio| digits(ratio));
    format!("{} · {rounds}", digits(measure.quiet / base.quiet))
}

fn line(into: &mut String, text: &str) {
    into.push_str(text);
    into.push('\n');
}

fn head(into: &mut String, columns: &[String]) {
    line(into, &format!("| {} |", columns.join(" | ")));
    line(into, &format!("|---{}|", "|--:".repeat(columns.len() - 1)));
}

fn header(run: &Run, into: &mut String) {
    let _ = writeln!(into, "## Results, {}\n", run.date);
    let list = |of: &std::collections::BTreeMap<String, String>| {
        of.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("; ")
    };
    let _ = writeln!(
        into,
        "{}.\n\n{}.\n\n`{}`\n",
        list(&run.machine),
        list(&run.versions),
        run.command
    );
    line(
        into,
        "Cells: **quiet** · median (smallest–largest). Ratios: quiet by quiet · median of the rounds' ratios.\n",
    );
}

fn target_table(run: &Run, into: &mut String) {
    line(into, "### Targets\n");
    head(into, &["target".into(), "wanted".into(), "here".into(), "met".into()]);
    for target in targets(run) {
        let got = target.got.map_or_else(|| "–".into(), digits);
        let met = if target.got.is_none() {
            "not measured"
        } else if target.met {
            "yes"
        } else {
            "**no**"
        };
        let _ = writeln!(into, "| {} | {} | {got} | {met} |", target.what, target.wanted);
    }
    line(into, "");
}

fn columns(
    run: &Run,
    group: &str,
    parameter: &str,
    first: &str,
    show: impl Fn(u64) -> String,
) -> (Vec<u64>, Vec<String>) {
    let values = run.values(group, parameter);
    let names =
        std::iter::once(first.to_string()).chain(values.iter().map(|&value| show(value))).collect();
    (values, names)
}

/// A row of ns for each subject, and where there is a base, one of how many times as long it takes.
fn subject_rows(
    run: &Run,
    group: &str,
    parameter: &str,
    values: &[u64],
    quantity: &str,
    base: Option<&str>,
    into: &mut String,
) {
    for subject in run.subjects(group) {
        let of = |subject, value| run.find(group, subject, &[(parameter, value)], quantity);
        let cells: Vec<String> = values
            .iter()
            .map(|&value| match base {
                Some(base) if base != subject => ratio(of(subject, value), of(base, value)),
                _ => cell(of(subject, value)),
            })
            .collect();
        let name = if base.is_some_and(|base| base != subject) {
            format!("{subject}, × ring")
        } else {
            format!("{subject}, {quantity}")
        };
        let _ = writeln!(into, "| {name} | {} |", cells.join(" | "));
    }
}

fn limit_table(run: &Run, into: &mut String) {
    line(into, "### Limits, one thread\n");
    let (values, names) = columns(run, "limits", "bytes", "ns", |bytes| format!("{bytes} B"));
    head(into, &names);
    subject_rows(run, "limits", "bytes", &values, "ns", None, into);
    line(into, "");
}

fn thread_tables(run: &Run, into: &mut String) {
    line(into, "### One process, two threads\n");
    let (values, names) =
        columns(run, "threads", "bytes", "throughput", |bytes| format!("{bytes} B"));
    head(into, &names);
    subject_rows(run, "threads", "bytes", &values, RECORD, Some("ring"), into);
    let limits: Vec<String> =
        values.iter().map(|&bytes| multiple_of_limit(run, "threads", "ring", bytes)).collect();
    let _ = writeln!(
        into,
        "| ring, × its limit: copy and CRC of the payload | {} |\n",
        limits.join(" | ")
    );
    head(
        into,
        &[
            "round trip of 48 bytes".into(),
            "p50, ns".into(),
            "× ring".into(),
            "× cache line alone".into(),
        ],
    );
    let limit = run.find("trips, busy", "limit", &[], "p50 ns");
    for subject in run.subjects("threads, trips") {
        let of = |subject| run.find("threads, trips", subject, &[], "p50 ns");
        let _ = writeln!(
            into,
            "| {subject} | {} | {} | {} |",
            cell(of(subject)),
            ratio(of(subject), of("ring")),
            ratio(of(subject), limit)
        );
    }
    line(into, "");
}

/// No side can be faster than its copy and its CRC of the payload.
fn multiple_of_limit(run: &Run, group: &str, subject: &str, bytes: u64) -> String {
    let with = [("bytes", bytes)];
    let limit = |name| run.find("limits", name, &with, "ns").map(|measure| measure.quiet);
    let measured = run.find(group, subject, &with, RECORD).map(|measure| measure.quiet);
    let multiple = || Some(measured? / (limit("copy")? + limit("CRC")?));
    multiple().map_or_else(|| "–".into(), digits)
}

fn process_tables(run: &Run, into: &mut String) {
    line(into, "### Two processes: throughput, and CPU time of sender + receiver, ns per record\n");
    let (group, ring) = ("processes", "ring, C reader");
    let mut cases: Vec<(u64, u64)> = run
        .measures
        .iter()
        .filter(|measure| measure.group == group)
        .map(|measure| (measure.with["bytes"], measure.with["batch"]))
        .collect();
    cases.sort_unstable();
    cases.dedup();
    for (bytes, batch) in cases {
        let with = [("bytes", bytes), ("batch", batch)];
        head(
            into,
            &[
                format!("{bytes} B, by {batch}"),
                RECORD.into(),
                "× ring".into(),
                "× its limit".into(),
                "CPU".into(),
            ],
        );
        for subject in run.subjects(group) {
            let of = |subject| run.find(group, subject, &with, RECORD);
            if of(subject).is_none() {
                continue;
            }
            let cpu = |side| brief(run.find(group, subject, &with, side));
            let cpu = format!(
                "{} + {}",
                cpu("CPU ns per record, sender"),
                cpu("CPU ns per record, receivers")
            );
            let limit = run.find("limits", "copy", &with[..1], "ns").zip(run.find(
                "limits",
                "CRC",
                &with[..1],
                "ns",
            ));
            let limit = limit.zip(of(subject)).map(|((copy, crc), measure)| {
                let checked = if subject.starts_with("ring") { crc.quiet } else { 0.0 };
                measure.quiet / (copy.quiet + checked)
            });
            let limit = limit.map_or_else(|| "–".into(), digits);
            let _ = writeln!(
                into,
                "| {subject} | {} | {} | {limit} | {cpu} |",
                cell(of(subject)),
                ratio(of(subject), of(ring))
            );
        }
        line(into, "");
    }
    line(into, "Limit: a copy of the payload, and for the ring its CRC.\n");
    head(
        into,
        &[
            "reading alone".into(),
            "C reader, ns".into(),
            "Rust reader, ns".into(),
            "C by Rust".into(),
        ],
    );
    for bytes in run.values("reading alone", "bytes") {
        let of = |subject| run.find("reading alone", subject, &[("bytes", bytes)], RECORD);
        let (c, rust) = (of("C reader"), of("Rust reader"));
        let _ = writeln!(into, "| {bytes} B | {} | {} | {} |", cell(c), cell(rust), ratio(c, rust));
    }
    line(into, "");
    let (values, names) =
        columns(run, "readers", "readers", "64 B, one by one, all readers get all", |readers| {
            format!("{readers} readers")
        });
    if !values.is_empty() {
        head(into, &names);
        for subject in run.subjects("readers") {
            let of =
                |subject, readers| run.find("readers", subject, &[("readers", readers)], RECORD);
            let cells: Vec<_> = values
                .iter()
                .map(|&readers| {
                    format!(
                        "{}, × ring {}",
                        cell(of(subject, readers)),
                        ratio(of(subject, readers), of(ring, readers))
                    )
                })
                .collect();
            let _ = writeln!(into, "| {subject} | {} |", cells.join(" | "));
        }
        line(into, "");
    }
}

fn trip_tables(run: &Run, into: &mut String) {
    line(into, "### Two processes: round trip of 48 bytes, ns\n");
    for (way, limit, note) in
        [("busy", "cache line alone", "busy"), ("sleep", "futex wake alone", "asleep")]
    {
        let group = format!("trips, {way}");
        head(
            into,
            &[
                note.into(),
                "p50".into(),
                "p99".into(),
                "p99.9".into(),
                format!("p50, × {limit}"),
                "p50, × ring".into(),
                "CPU of both".into(),
            ],
        );
        for subject in run.subjects(&group) {
            let of = |subject, quantity| run.find(&group, subject, &[], quantity);
            let (p50, name) =
                (of(subject, "p50 ns"), if subject == "limit" { limit } else { subject });
            let _ = writeln!(
                into,
                "| {name} | {} | {} | {} | {} | {} | {} |",
                cell(p50),
                brief(of(subject, "p99 ns")),
                brief(of(subject, "p99.9 ns")),
                ratio(p50, of("limit", "p50 ns")),
                ratio(p50, of("ring", "p50 ns")),
                brief(of(subject, "CPU ns per trip, both"))
            );
        }
        line(into, "");
    }
    line(
        into,
        "*Answered by its release*: the producer waits, busy, until the C reader has released the record; asleep, only the reader sleeps, so that is one wake \
         and not two.\n",
    );
}

fn mapping_table(run: &Run, into: &mut String) {
    line(into, "### Kinds of mappings: a ring of 16 MiB, records of 1 KiB\n");
    let quantities = [
        "attach us",
        "page faults of the first lap",
        "first lap, ns per record",
        "later laps, ns per record",
        "page faults of later laps",
    ];
    let names: Vec<String> =
        ["memory", "prefault"].into_iter().chain(quantities).map(String::from).collect();
    head(into, &names);
    for subject in run.subjects("mappings") {
        for prefault in [0, 1] {
            let cells: Vec<_> = quantities
                .iter()
                .map(|quantity| {
                    cell(run.find("mappings", subject, &[("prefault", prefault)], quantity))
                })
                .collect();
            let _ = writeln!(
                into,
                "| {subject} | {} | {} |",
                if prefault == 1 { "yes" } else { "no" },
                cells.join(" | ")
            );
        }
    }
    line(
        into,
        "\nThe first lap is one thread that writes and then reads; later laps are two threads at once.\n",
    );
}

fn growth_section(run: &Run, into: &mut String) {
    line(into, "### Growth\n");
    for plot in PLOTS.iter().filter(|plot| !run.values(plot.group, plot.parameter).is_empty()) {
        let _ = writeln!(into, "![{}](results/{}.svg)\n\n{}\n", plot.title, plot.file, plot.why);
        let (values, names) =
            columns(run, plot.group, plot.parameter, plot.axis, |value| value.to_string());
        head(into, &names);
        for subject in run.subjects(plot.group) {
            let of =
                |value| brief(run.find(plot.group, subject, &[(plot.parameter, value)], RECORD));
            let _ = writeln!(
                into,
                "| {subject} | {} |",
                values.iter().map(|&value| of(value)).collect::<Vec<_>>().join(" | ")
            );
        }
        line(into, "");
    }
    let counts: Vec<String> = run
        .values("instructions", "readers")
        .into_iter()
        .map(|readers| {
            let count = brief(run.find(
                "instructions",
                "publish",
                &[("readers", readers)],
                "instructions per record",
            ));
            format!("{count} with {readers}")
        })
        .collect();
    if !counts.is_empty() {
        let _ = writeln!(
            into,
            "Instructions per publication of 64 bytes, by gating readers: {}.\n",
            counts.join(", ")
        );
    }
}
