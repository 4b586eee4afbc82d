//! What an error of Kafka means for the records. Pure.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::sink::{Failure, Remedy};

/// What is to be done about a record that has this error.
const fn remedy(code: Code) -> Remedy {
    match code {
        // The broker names none of the records that came together.
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord => {
            Remedy::Split
        }
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidTopic
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedVersion => Remedy::Stop,
        _ => Remedy::Retry(None),
    }
}

/// librdkafka did not take record `at`.
pub(super) fn of_sending(at: usize, error: &KafkaError) -> Failure {
    match error.rdkafka_error_code() {
        // Larger than `message.max.bytes`: it has looked at this one alone.
        Some(Code::MessageSizeTooLarge) => Failure::poison(at, reason(Code::MessageSizeTooLarge)),
        Some(code) => of_delivery(at, code),
        None => Failure::retry(error).after(at),
    }
}

/// Record `done` has this error in its delivery report; those before it are delivered.
pub(super) fn of_delivery(done: usize, code: Code) -> Failure {
    Failure { done, remedy: remedy(code), reason: reason(code) }
}

/// The brokers did not tell of the topic.
pub(super) fn of_probe(error: &KafkaError) -> Failure {
    error.rdkafka_error_code().map_or_else(|| Failure::retry(error), |code| of_delivery(0, code))
}

/// They did, with an error.
pub(super) fn of_topic(topic: &str, code: Code) -> Failure {
    Failure { reason: format!("topic `{topic}`: {}", reason(code)), ..of_delivery(0, code) }
}

fn reason(code: Code) -> String {
    format!("Kafka: {code}")
}
