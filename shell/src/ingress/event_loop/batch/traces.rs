//! Spans of a turn: each begins with a record that is appended, and ends when all its records are
//! published.

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

use aqueduct_core::layout::ATTRIBUTES_MAX_BYTES;

use super::{Batch, refusal};
use crate::codec::{Outcome, Record, RingId};
use crate::metrics::Exemplar;
use crate::ring::{Ring, Standing};
use crate::sync::lock;
use crate::telemetry::{Context, Span, Tracer, now_ns, ns_since_1970};

/// Spans that have begun in this turn.
#[derive(Default)]
pub(super) struct Traces {
    open: Vec<Open>,
}

/// A span, and the last record of it in each ring.
struct Open {
    span: Span,
    /// Where it is counted: the first of its rings.
    counts_in: RingId,
    records: Vec<(RingId, u64)>,
    /// Further records of the same batch may come.
    grows: bool,
}

/// A trace that is recorded, and who records it.
pub(super) struct Trace<'a> {
    tracer: &'a Tracer,
    context: Context,
}

impl Traces {
    /// Says that the records that follow are a batch of their own.
    pub(super) fn begin_batch(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.grows = false;
        }
    }

    /// Returns the span of the batch that this record belongs to, if it has begun.
    fn of_batch(&mut self, context: &Context) -> Option<&mut Open> {
        self.open.last_mut().filter(|open| {
            let span = &open.span;
            open.grows && (span.trace_id, span.parent_id) == (context.trace_id, context.parent_id)
        })
    }
}

impl<'a> Batch<'a> {
    /// Returns the trace of a record, if it is recorded.
    pub(super) fn trace_of(&self, record: &Record<'_>) -> Option<Trace<'a>> {
        let tracer = self.shared.tracer.as_deref()?;
        Some(Trace { tracer, context: Context::of(&record.attributes)? })
    }

    /// Appends a record that continues a trace.
    pub(super) fn put_traced(&mut self, trace: &Trace<'_>, record: Record<'_>) -> Outcome {
        self.traced(trace, &[record.ring], record, |batch, record| {
            let outcome = batch.put(record);
            let seq = if let Outcome::Accepted(seq) = outcome { Some(seq) } else { None };
            (outcome, seq.map(|seq| (record.ring, seq)).into_iter().collect())
        })
    }

    /// Appends a record that continues a trace to each of several rings.
    pub(super) fn put_traced_in_all(
        &mut self,
        trace: &Trace<'_>,
        rings: &[RingId],
        record: Record<'_>,
        seqs: &mut Vec<u64>,
    ) -> Outcome {
        self.traced(trace, rings, record, |batch, record| {
            let outcome = batch.put_in_all(rings, record, seqs);
            (outcome, rings.iter().copied().zip(seqs.iter().copied()).collect())
        })
    }

    fn traced(
        &mut self,
        Trace { tracer, context }: &Trace<'_>,
        rings: &[RingId],
        record: Record<'_>,
        append: impl FnOnce(&mut Self, Record<'_>) -> (Outcome, Vec<(RingId, u64)>),
    ) -> Outcome {
        let grows = self.granted > 0;
        let waited_ms = self.waited_ms.unwrap_or(0);
        let begun = if grows { self.traces.of_batch(context) } else { None };
        let begun = begun.map(|open| open.span.span_id);
        let span_id = begun.unwrap_or_else(|| tracer.span_id());
        let mut room = [0; ATTRIBUTES_MAX_BYTES];
        let attributes = context.continued(&record.attributes, span_id, &mut room);
        let (outcome, records) = append(self, Record { attributes, ..record });
        let refusal = match outcome {
            // It comes again, and its span begins then.
            Outcome::Full => return outcome,
            Outcome::Accepted(_) => None,
            Outcome::Refused(reason) => Some(refusal(reason).label()),
        };
        let payload_bytes = record.payload.len() as u64;
        if begun.is_some()
            && let Some(open) = self.traces.of_batch(context)
        {
            open.span.records += 1;
            open.span.payload_bytes += payload_bytes;
            open.span.refusal = open.span.refusal.or(refusal);
            // The last one is published last.
            if !records.is_empty() {
                open.records = records;
            }
            return outcome;
        }
        let received_ns = ns_since_1970(self.clock.wall());
        let names: Vec<&str> = rings.iter().map(|ring| self.ring_of(*ring).name()).collect();
        let span = Span {
            trace_id: context.trace_id,
            span_id,
            parent_id: context.parent_id,
            flags: context.flags,
            start_ns: received_ns.saturating_sub(waited_ms * 1_000_000),
            end_ns: 0,
            ring: names.join(","),
            epoch: self.ring_of(record.ring).epoch(),
            seq: records.first().map(|(_, seq)| *seq),
            records: 1,
            payload_bytes,
            waited_ms,
            refusal,
        };
        let counts_in = record.ring;
        self.traces.open.push(Open { span, counts_in, records, grows });
        outcome
    }

    /// Ends the spans whose records are published, and has the others end when theirs are. To be
    /// called when the turns have ended.
    pub(super) fn end_spans(&mut self) {
        let Some(tracer) = self.shared.tracer.as_ref().filter(|_| !self.traces.open.is_empty())
        else {
            return;
        };
        let end_ns = now_ns();
        for Open { mut span, counts_in, records, .. } in self.traces.open.drain(..) {
            span.end_ns = end_ns;
            let rings = &self.shared.rings;
            let counts_in = &rings[usize::from(counts_in.0)];
            let records = records.iter().map(|(ring, seq)| (&rings[usize::from(ring.0)], *seq));
            let coming: Vec<_> = records
                .filter(|(ring, seq)| ring.standing(*seq) != Standing::Published)
                .map(|(ring, seq)| (Arc::clone(ring), seq))
                .collect();
            if coming.is_empty() {
                end(tracer, counts_in, span);
            } else if tracer.take_place() {
                let (tracer, counts_in) = (Arc::clone(tracer), Arc::clone(counts_in));
                let rest = Mutex::new(Some((span, coming)));
                Arc::new(Coming { tracer, counts_in, rest }).look();
            }
        }
    }
}

/// Has a span sent that has ended, and counts it.
fn end(tracer: &Tracer, counts_in: &Ring, span: Span) {
    let exemplar = |value| Exemplar {
        trace_id: span.trace_id,
        span_id: span.span_id,
        value,
        at_ns: span.end_ns,
    };
    #[allow(clippy::cast_precision_loss, reason = "the first digits are meant")]
    let exemplar = match span.refusal {
        None => exemplar(span.end_ns.saturating_sub(span.start_ns) as f64 / 1e9),
        Some(_) => exemplar(span.records as f64),
    };
    counts_in.metrics().traced(exemplar, span.refusal);
    tracer.end(span);
}

/// A span whose records wait for the journal. INVARIANT: it has a place of the tracer.
struct Coming {
    tracer: Arc<Tracer>,
    counts_in: Arc<Ring>,
    /// None once the span has ended.
    rest: Mutex<Option<Rest>>,
}

/// The span, and the last record of it in each ring that is not so far.
type Rest = (Span, Vec<(Arc<Ring>, u64)>);

impl Coming {
    /// Ends the span if it is time; else watches a ring that is not so far.
    fn look(self: &Arc<Self>) {
        let (ring, seq) = {
            let mut rest = lock(&self.rest);
            let Some((mut span, mut coming)) = rest.take() else { return };
            let is_lost = |(ring, seq): &(Arc<Ring>, u64)| ring.standing(*seq) == Standing::Lost;
            if coming.iter().any(is_lost) {
                span.refusal = Some("journal");
                coming.clear();
            }
            coming.retain(|(ring, seq)| ring.standing(*seq) != Standing::Published);
            let Some((ring, seq)) = coming.first() else {
                span.end_ns = now_ns();
                end(&self.tracer, &self.counts_in, span);
                return;
            };
            let first = (Arc::clone(ring), *seq);
            *rest = Some((span, coming));
            first
        };
        // Nothing is locked: it calls at once if something has changed meanwhile.
        ring.watch(seq, Waker::from(Arc::clone(self)));
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.tracer.give_place();
    }
}

impl Wake for Coming {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}
