//! The metrics of the process, as OTLP has them: the same names, labels and values as `/metrics`.

use prometheus::proto::{LabelPair, MetricFamily, MetricType};

use super::messages::{
    CUMULATIVE, Data, Gauge, Histogram, KeyValue, Metric, Point, Spread, Sum, Value,
};

/// Makes them what is sent, and counts the values.
pub(super) fn metrics(families: &[MetricFamily], start_ns: u64, now_ns: u64) -> (Vec<Metric>, u64) {
    let mut count = 0;
    let mut metrics = Vec::with_capacity(families.len());
    for family in families {
        count += family.get_metric().len() as u64;
        let points = |value: fn(&prometheus::proto::Metric) -> f64| {
            let point = |metric: &prometheus::proto::Metric| Point {
                start_time_unix_nano: start_ns,
                time_unix_nano: now_ns,
                as_double: Some(value(metric)),
                attributes: labels(metric.get_label()),
            };
            family.get_metric().iter().map(point).collect::<Vec<_>>()
        };
        let data = match family.get_field_type() {
            MetricType::COUNTER => Data::Sum(Sum {
                data_points: points(|metric| metric.get_counter().get_value()),
                aggregation_temporality: CUMULATIVE,
                is_monotonic: true,
            }),
            MetricType::HISTOGRAM => {
                let spread = |metric: &prometheus::proto::Metric| Spread {
                    start_time_unix_nano: start_ns,
                    time_unix_nano: now_ns,
                    attributes: labels(metric.get_label()),
                    ..spread(metric.get_histogram())
                };
                Data::Histogram(Histogram {
                    data_points: family.get_metric().iter().map(spread).collect(),
                    aggregation_temporality: CUMULATIVE,
                })
            }
            _ => {
                Data::Gauge(Gauge { data_points: points(|metric| metric.get_gauge().get_value()) })
            }
        };
        metrics.push(Metric {
            name: family.name().to_owned(),
            description: family.help().to_owned(),
            data: Some(data),
        });
    }
    (metrics, count)
}

fn labels(pairs: &[LabelPair]) -> Vec<KeyValue> {
    let label = |pair: &LabelPair| KeyValue::new(pair.name(), Value::Text(pair.value().to_owned()));
    pairs.iter().map(label).collect()
}

/// Takes the counts of buckets apart, which Prometheus adds up.
fn spread(histogram: &prometheus::proto::Histogram) -> Spread {
    let count = histogram.get_sample_count();
    let mut below = 0;
    let (mut bucket_counts, mut explicit_bounds) = (Vec::new(), Vec::new());
    for bucket in histogram.get_bucket() {
        if bucket.upper_bound().is_finite() {
            explicit_bounds.push(bucket.upper_bound());
            bucket_counts.push(bucket.cumulative_count().saturating_sub(below));
            below = bucket.cumulative_count();
        }
    }
    bucket_counts.push(count.saturating_sub(below));
    Spread {
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds,
        ..Spread::default()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

    use super::*;

    #[test]
    fn counters_gauges_and_histograms_become_sums_gauges_and_spreads() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "As."), &["ring"]).unwrap();
        let gauge = IntGauge::new("b", "Bs.").unwrap();
        let options = HistogramOpts::new("c", "Cs.").buckets(vec![1.0, 2.0]);
        let options = options.const_label("ring", "y");
        let histogram = prometheus::Histogram::with_opts(options).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        registry.register(Box::new(gauge.clone())).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        counter.with_label_values(&["x"]).inc_by(3);
        gauge.set(-4);
        for value in [0.5, 1.5, 1.6, 9.0] {
            histogram.observe(value);
        }
        let (metrics, count) = metrics(&registry.gather(), 1, 2);
        assert_eq!((count, metrics.len()), (3, 3));
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
        let point = &sum.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        assert_eq!((point.as_double, sum.is_monotonic), (Some(3.0), true));
        assert_eq!(point.attributes, [KeyValue::text("ring", "x")]);
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
        assert_eq!(gauge.data_points[0].as_double, Some(-4.0));
        let Some(Data::Histogram(spread)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
        let spread = &spread.data_points[0];
        assert_eq!((spread.count, spread.sum), (4, Some(12.6)));
        assert_eq!((spread.start_time_unix_nano, spread.time_unix_nano), (1, 2));
        assert_eq!(spread.attributes, [KeyValue::text("ring", "y")]);
        assert_eq!(
            (&spread.bucket_counts[..], &spread.explicit_bounds[..]),
            (&[1, 2, 1][..], &[1.0, 2.0][..])
        );
    }
}
