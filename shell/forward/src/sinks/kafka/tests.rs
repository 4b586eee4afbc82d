//! Against librdkafka's own mock cluster: brokers on loopback in this process, with the faults that
//! they are told to have.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::batch::Batch;
use crate::sink::Remedy;

const PARTITIONS: i32 = 3;

struct Cluster(MockCluster<'static, DefaultProducerContext>);

impl Cluster {
    fn new() -> Self {
        let cluster = MockCluster::new(3).expect("brokers");
        cluster.create_topic("t", PARTITIONS, 3).expect("a topic");
        Self(cluster)
    }

    fn sink(&self, more: &str) -> Kafka {
        let brokers = self.0.bootstrap_servers();
        let table = toml::from_str(&format!("brokers = '{brokers}'\ntopic = 't'\n{more}"));
        let context = Context::default();
        Kafka::open(table.expect("TOML of this shape"), &context).expect("settings")
    }

    /// All messages of each partition, as (key, epoch, seq), in order.
    fn read(&self, least: usize) -> BTreeMap<i32, Vec<(Option<String>, String, u64)>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.0.bootstrap_servers())
            .set("group.id", "test")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset("t", partition, Offset::Beginning).expect("added");
        }
        consumer.assign(&list).expect("assigned");
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let (mut count, mut ended) = (0, 0);
        let until = Instant::now() + Duration::from_secs(60);
        // Until all partitions are at their end, and as many came as must be there.
        while (ended < PARTITIONS || count < least) && Instant::now() < until {
            let message = match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    ended += 1;
                    continue;
                }
                _ => continue,
            };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = message.headers().expect("headers");
            let header = |name| {
                let found = headers.iter().find(|header| header.key == name);
                text(found.expect("it is there").value.expect("a value"))
            };
            let seq = header("aqueduct-seq").parse().expect("a number");
            assert_eq!(message.payload(), Some(format!("{{\"id\":\"k{}\"}}", seq % 7).as_bytes()));
            let key = message.key().map(text);
            found.entry(message.partition()).or_default().push((
                key,
                header("aqueduct-epoch"),
                seq,
            ));
            count += 1;
        }
        found
    }

    /// How often each record is there. In a partition none comes before one that it follows.
    fn counted(&self, least: usize) -> BTreeMap<u64, usize> {
        let mut counted = BTreeMap::new();
        for records in self.read(least).into_values() {
            // What comes again begins earlier and then goes on: first sights are in order.
            let mut highest = None;
            for (_, _, seq) in records {
                let count: &mut usize = counted.entry(seq).or_default();
                *count += 1;
                assert!(*count > 1 || Some(seq) > highest, "{seq} after {highest:?}");
                highest = highest.max(Some(seq));
            }
        }
        counted
    }

    fn errors(&self, errors: &[RDKafkaRespErr]) {
        self.0.request_errors(RDKafkaApiKey::Produce, errors);
    }
}

fn batch(range: std::ops::Range<u64>) -> Batch {
    let mut batch = Batch::default();
    batch.clear(0xE);
    for seq in range {
        let payload = format!("{{\"id\":\"k{}\"}}", seq % 7);
        batch.push(seq, 5, 0, payload.as_bytes(), b"");
    }
    batch
}

/// As the frame does it: again from the first record that is not delivered.
fn deliver(sink: &mut Kafka, range: std::ops::Range<u64>) -> Vec<Failure> {
    let batch = batch(range);
    let mut failures = Vec::new();
    let mut from = 0;
    while from < batch.len() {
        let rest = batch.records().slice(from..batch.len());
        match sink.deliver(&rest, &Stop::default()) {
            Ok(_) => from = batch.len(),
            Err(failure) => {
                assert!(matches!(failure.remedy, Remedy::Retry(_)), "{failure:?}");
                assert!(failures.len() < 50, "{failure}");
                from += failure.done;
                failures.push(failure);
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    failures
}

fn once(count: u64) -> BTreeMap<u64, usize> {
    (0..count).map(|seq| (seq, 1)).collect()
}

#[test]
fn records_arrive_with_their_key_in_its_partition_and_their_names_in_headers() {
    let cluster = Cluster::new();
    let mut sink = cluster.sink("key_pointer = '/id'\n");
    assert_eq!(sink.probe(&Stop::default()), Ok(()));
    assert_eq!(deliver(&mut sink, 0..100), []);
    let found = cluster.read(100);
    let mut partition_of = BTreeMap::new();
    let mut seen = 0;
    for (partition, records) in &found {
        for (key, epoch, seq) in records {
            assert_eq!(epoch, "000000000000000e");
            assert_eq!(key.as_deref(), Some(&*format!("k{}", seq % 7)));
            assert_eq!(partition_of.entry(key.clone()).or_insert(*partition), partition);
            seen += 1;
        }
        assert!(records.is_sorted_by_key(|(_, _, seq)| *seq), "in order");
    }
    assert_eq!((seen, partition_of.len()), (100, 7));
    assert!(found.len() > 1, "keys are spread");
}

#[test]
fn with_idempotence_neither_a_change_of_leaders_nor_missing_replicas_double_or_lose() {
    use RDKafkaRespErr as E;
    let cluster = Cluster::new();
    let mut sink = cluster.sink("key_pointer = '/id'\n");
    assert_eq!(deliver(&mut sink, 0..200), []);
    for (round, partition) in (0..PARTITIONS).enumerate() {
        for broker in 1..=3 {
            cluster.0.partition_leader("t", partition, Some(broker)).expect("moved");
        }
        cluster.errors(&[
            E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            // It was written; only the answer says that the replicas are not enough.
            E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ]);
        let begin = 200 + round as u64 * 100;
        assert_eq!(deliver(&mut sink, begin..begin + 100), []);
    }
    assert_eq!(cluster.counted(500), once(500));
}

#[test]
fn with_one_acknowledgement_and_three_retries_what_the_client_gives_up_comes_again() {
    use RDKafkaRespErr as E;
    let cluster = Cluster::new();
    let settings = "[settings]\nacks = 1\nretries = 3\n'retry.backoff.ms' = 1\n\
                    'retry.backoff.max.ms' = 1\n";
    let mut sink = cluster.sink(settings);
    assert_eq!(deliver(&mut sink, 0..100), []);
    // One more than the client tries, for each of the leaders: without the report these are lost.
    cluster.errors(&[E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT; 14]);
    let failures = deliver(&mut sink, 100..200);
    assert!(!failures.is_empty(), "the client has given records up");
    let counted = cluster.counted(200);
    assert_eq!(counted.len(), 200, "none is lost");
}

#[test]
fn after_a_refused_request_everything_is_sent_again_in_order() {
    let cluster = Cluster::new();
    let mut sink = cluster.sink("key_pointer = '/id'\n[settings]\n'batch.num.messages' = 10\n");
    cluster.errors(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let batch = batch(0..500);
    let failure = sink.deliver(&batch.records(), &Stop::default()).expect_err("one is refused");
    assert_eq!(failure.remedy, Remedy::Split, "{failure}");
    let rest = batch.records().slice(failure.done..batch.len());
    // As the frame divides it.
    let half = rest.len() / 2;
    sink.deliver(&rest.slice(0..half), &Stop::default()).expect("delivered");
    sink.deliver(&rest.slice(half..rest.len()), &Stop::default()).expect("delivered");
    for (partition, records) in cluster.read(500) {
        // Where each is for the last time.
        let mut last = BTreeMap::new();
        for (at, (_, _, seq)) in records.iter().enumerate() {
            last.insert(*seq, at);
        }
        assert!(last.values().is_sorted(), "partition {partition}: {records:?}");
    }
}

#[test]
fn idempotence_is_off_only_where_it_cannot_be_and_then_one_request_is_under_way() {
    for (settings, is_idempotent, in_flight) in [
        ("", "true", None),
        ("retries = 3", "true", None),
        ("retries = 0", "false", Some("1")),
        ("acks = 1", "false", Some("1")),
        ("acks = 1\n'max.in.flight' = 5", "false", Some("5")),
        ("'enable.idempotence' = false", "false", Some("1")),
    ] {
        let table =
            toml::from_str(&format!("brokers = 'x:1'\ntopic = 't'\n[settings]\n{settings}"));
        let sink = Kafka::open(table.expect("TOML"), &Context::default()).expect("settings");
        let found = (sink.config.get("enable.idempotence"), sink.config.get("max.in.flight"));
        assert_eq!(found, (Some(is_idempotent), in_flight), "{settings}");
    }
}

#[test]
fn a_payload_that_is_no_json_has_no_key() {
    let key = Key::Pointer(Wanted::new(["/id"]));
    let envelope = Envelope::default();
    let mut batch = batch(1..2);
    batch.push(2, 0, 0, b"{\"id\":\"k\"} and more", b"");
    batch.push(3, 0, 0, b"{\"id\":\"k\"}", b"");
    let mut messages = Messages::new("t", &key, &envelope, 0xE);
    let mut key_of = |at| {
        let message = messages.of(&batch.records().get(at), at).expect("a message");
        message.key.map(|key| String::from_utf8_lossy(key).into_owned())
    };
    assert_eq!([key_of(0), key_of(1), key_of(2)], [Some("k1".into()), None, Some("k".into())]);
}

#[test]
fn a_message_that_is_too_large_is_poison_and_those_before_it_are_delivered() {
    let cluster = Cluster::new();
    let mut sink = cluster.sink("[settings]\n'message.max.bytes' = 1000\n");
    let mut batch = batch(0..3);
    batch.push(3, 0, 0, &[b'x'; 2000], b"");
    batch.push(4, 0, 0, b"{\"id\":\"k4\"}", b"");
    let failure = sink.deliver(&batch.records(), &Stop::default()).expect_err("too large");
    assert_eq!((failure.done, failure.remedy), (3, Remedy::Poison), "{failure}");
    sink.deliver(&batch.records().slice(4..5), &Stop::default()).expect("delivered");
    assert_eq!(cluster.counted(4).into_keys().collect::<Vec<_>>(), [0, 1, 2, 4]);
}

#[test]
fn what_only_the_broker_finds_too_large_is_split() {
    let cluster = Cluster::new();
    let mut sink = cluster.sink("");
    cluster.errors(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 3]);
    let failure = sink.deliver(&batch(0..10).records(), &Stop::default()).expect_err("refused");
    assert_eq!(failure.remedy, Remedy::Split, "{failure}");
    cluster.0.clear_request_errors(RDKafkaApiKey::Produce);
    sink.deliver(&batch(0..10).records(), &Stop::default()).expect("delivered");
    assert_eq!(cluster.counted(10).len(), 10);
}

#[test]
fn a_broker_that_throttles_is_asked_again_and_nothing_is_lost() {
    use RDKafkaRespErr as E;
    let cluster = Cluster::new();
    let mut sink = cluster.sink("key_pointer = '/id'\n");
    assert_eq!(deliver(&mut sink, 0..50), []);
    cluster.errors(&[E::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED; 7]);
    let failures = deliver(&mut sink, 50..150);
    // librdkafka does not try these again by itself; the frame does, after a pause.
    assert!(failures.iter().any(|it| it.reason.contains("quota")), "{failures:?}");
    assert_eq!(cluster.counted(150).len(), 150, "none is lost, and in order");
}

#[test]
fn brokers_that_are_gone_fail_in_time_and_are_used_within_seconds_of_their_return() {
    let cluster = Cluster::new();
    let mut sink = cluster.sink("delivery_timeout_ms = '1500ms'\n");
    assert_eq!(deliver(&mut sink, 0..10), []);
    for broker in 1..=3 {
        cluster.0.broker_down(broker).expect("down");
    }
    let began = Instant::now();
    let stop = Stop::default();
    let failure = sink.deliver(&batch(10..20).records(), &stop).expect_err("nobody is there");
    assert!(matches!(failure.remedy, Remedy::Retry(_)), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(20), "bounded: {:?}", began.elapsed());
    assert!(sink.probe(&stop).is_err());
    for broker in 1..=3 {
        cluster.0.broker_up(broker).expect("up");
    }
    let back = Instant::now();
    deliver(&mut sink, 10..20);
    assert!(back.elapsed() < Duration::from_secs(5), "recovery took {:?}", back.elapsed());
    let counted = cluster.counted(20);
    assert_eq!(counted.len(), 20, "none is lost");
}

#[test]
fn a_slow_broker_ends_an_attempt_at_the_deadline_of_the_process() {
    let cluster = Cluster::new();
    let mut sink = cluster.sink("");
    assert_eq!(deliver(&mut sink, 0..10), []);
    for broker in 1..=3 {
        cluster.0.broker_round_trip_time(broker, Duration::from_secs(4)).expect("slow");
    }
    let stop = Stop::default();
    stop.ask(Duration::from_millis(300));
    let began = Instant::now();
    let failure = sink.deliver(&batch(10..20).records(), &stop).expect_err("no answer in time");
    assert!(matches!(failure.remedy, Remedy::Retry(_)), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for broker in 1..=3 {
        cluster.0.broker_round_trip_time(broker, Duration::ZERO).expect("fast again");
    }
    assert_eq!(deliver(&mut sink, 10..20), []);
    assert_eq!(cluster.counted(20).len(), 20);
}

#[test]
fn settings_that_are_wrong_are_told_by_their_key() {
    for (text, why) in [
        ("[settings]\nacks = 0", "acks"),
        ("[settings]\n'bootstrap.servers' = 'x'", "sink.brokers"),
        ("[settings]\n'no.such.setting' = 1", "no.such.setting"),
        ("[settings]\n'partitioner' = 'wheel'", "partitioner"),
        ("key_pointer = 'id'", "sink.key_pointer"),
        ("key_pointer = '/id'\nkey_attribute = 'id'", "sink.key_pointer"),
        ("delivery_timeout_ms = 5", "sink.delivery_timeout_ms: `5`"),
    ] {
        let table = toml::from_str(&format!("brokers = 'x:1'\ntopic = 't'\n{text}"));
        let error = Kafka::open(table.expect("TOML"), &Context::default()).err();
        let error = error.unwrap_or_else(|| panic!("{text} is refused"));
        assert!(error.contains(why), "{error}");
    }
}
