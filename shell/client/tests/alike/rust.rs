//! The Rust client of the common scripts: opens as the plan says, reads to the end, and prints a
//! line for every event. `client.c` prints the same from the C client.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use aqueduct_client::{
    Change, Client, End, Event, OpenError, Options, ReadError, Seek, SeekError, Start,
};
use aqueduct_core::AttachError;
use aqueduct_core::geometry::GeometryError;
use aqueduct_core::handshake::WelcomeError;

use super::Plan;

/// Runs to the end; lines go to `lines`, and a pause ends when `go` says so.
pub(crate) fn run(path: &Path, plan: &Plan, lines: &Sender<String>, go: &Receiver<()>) {
    let print = |line: String| lines.send(line).expect("the script listens");
    let mut client = match open(path, plan) {
        Ok(client) => client,
        Err(error) => return print(open_error(&error)),
    };
    let info = client.info();
    print(format!(
        "open epoch={} created={} capacity={} max={} clock={} minor={} name={}",
        info.epoch,
        info.created_ns,
        info.capacity_granules,
        info.max_payload_bytes,
        info.clock_id,
        info.abi_minor,
        info.name
    ));
    if let Some((epoch, seq)) = plan.seek {
        print(match client.seek(epoch, seq) {
            Ok(Seek::Found) => "seek found".to_owned(),
            Ok(Seek::Ahead) => "seek ahead".to_owned(),
            Ok(Seek::Gone { oldest }) => format!("seek gone {oldest}"),
            Err(SeekError::Epoch { .. }) => "seek epoch".to_owned(),
            Err(error) => error.to_string(),
        });
    }
    let mut records = 0;
    loop {
        let event = client.next_with_attributes();
        let (line, is_record) = match event {
            Ok(Event::Empty) => {
                client.release();
                client.wait(None).expect("polled");
                continue;
            }
            Ok(Event::Record((record, payload, ref attributes))) => {
                let mut line = format!(
                    "record {} type={} len={} time={} {}",
                    record.seq,
                    record.type_tag,
                    record.len,
                    record.timestamp_ns,
                    String::from_utf8_lossy(payload)
                );
                for one in attributes.clone() {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    write!(line, " {}={}", text(one.name), text(one.value)).expect("a string");
                }
                (line, true)
            }
            Ok(Event::Closed) => ("closed".to_owned(), false),
            Ok(Event::Lost) => ("lost".to_owned(), false),
            Ok(Event::EpochChanged(change)) => (epoch(&change), false),
            Err(error) => (read_error(error), false),
        };
        let over = matches!(
            event,
            Ok(Event::Closed | Event::Lost) | Err(ReadError::TailOutOfRange { .. })
        );
        print(line);
        if over {
            break;
        }
        records += u64::from(is_record);
        if is_record && records == plan.pause_after {
            print("paused".to_owned());
            go.recv().expect("the script goes on");
        }
    }
    let (stats, totals) = (client.stats(), client.totals());
    print(format!("stats corrupt={} lost={}", stats.corrupt, stats.lost));
    print(format!(
        "totals records={} bytes={} attachments={}",
        totals.records, totals.payload_bytes, totals.attachments
    ));
    print(format!("attached={}", u32::from(client.is_attached())));
}

fn open(path: &Path, plan: &Plan) -> Result<Client, OpenError> {
    // As in C, 0 is the default and a negative time is for ever.
    let time = |ms: i32| u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis);
    let mut options = Options::new(path)
        .ring(plan.ring)
        .subscription(plan.subscription)
        .start([Start::Here, Start::Oldest, Start::Latest][plan.start])
        .reconnect_for(time(plan.reconnect_ms))
        .retry_open_for(time(plan.open_retry_ms))
        .backoff(Duration::from_millis(1), Duration::from_millis(10));
    if plan.standby {
        options = options.standby();
    }
    if plan.timeout_ms != 0 {
        options = options.timeout(time(plan.timeout_ms));
    }
    if plan.observe { options.observe() } else { options.attach() }
}

fn open_error(error: &OpenError) -> String {
    let what = match error {
        OpenError::Refused { status, message } => {
            return format!("open refused {status} {message}");
        }
        OpenError::System { errno, .. } => return format!("open system {errno}"),
        OpenError::Path { .. } | OpenError::Name(_) => "argument",
        OpenError::Timeout => "timeout",
        OpenError::HangUp => "hangup",
        OpenError::Welcome(WelcomeError::Malformed { .. }) | OpenError::Descriptors { .. } => {
            "protocol"
        }
        OpenError::NotSealed { .. } => "not sealed",
        OpenError::Size { .. }
        | OpenError::Attach(
            AttachError::CursorSegmentTooSmall { .. }
            | AttachError::Geometry(GeometryError::SegmentTooSmall { .. }),
        ) => "size",
        OpenError::Welcome(WelcomeError::Version { .. })
        | OpenError::Attach(AttachError::Geometry(GeometryError::Version { .. })) => "version",
        OpenError::Attach(AttachError::Geometry(GeometryError::Magic { .. })) => "magic",
        OpenError::Attach(AttachError::Geometry(GeometryError::Crc { .. })) => "checksum",
        OpenError::Attach(AttachError::Geometry(_)) => "geometry",
        OpenError::Attach(AttachError::CursorSegmentIdentity | AttachError::Epoch { .. }) => {
            "cursor"
        }
        OpenError::Attach(AttachError::TailOutOfRange(_)) => "tail",
        other => panic!("{other:?} is no error of these scripts"),
    };
    format!("open {what}")
}

fn epoch(change: &Change) -> String {
    let end = match change.old_end {
        End::Closed => "closed",
        End::Lost => "lost",
        End::TailOutOfRange { .. } => "tail",
    };
    format!(
        "epoch old={} new={} next={} missed={} old end: {end}",
        change.old_epoch,
        change.new_epoch,
        change.old_next_seq.unwrap_or(0),
        u32::from(change.missed_old) + 2 * u32::from(change.missed_new),
    )
}

fn read_error(error: ReadError) -> String {
    match error {
        ReadError::Payload { seq, position, stored, computed } => format!(
            "payload seq={seq} position={position} stored={stored:08x} computed={computed:08x}"
        ),
        ReadError::Header { position, resumed_at, stored, computed, .. } => format!(
            "header position={position} resumed={resumed_at} stored={stored:08x} computed={computed:08x}"
        ),
        ReadError::Gap { expected, found } => format!("gap expected={expected} found={found}"),
        ReadError::Overrun { expected: Some(expected), found: Some(found) } => {
            format!("overrun expected={expected} found={found}")
        }
        ReadError::Overrun { .. } => "overrun".to_owned(),
        ReadError::TailOutOfRange { position, tail } => {
            format!("tail position={position} tail={tail}")
        }
        error => panic!("{error}; the buffer grows, and C knows nothing else"),
    }
}
