//! Which records are delivered. Pure over records.

use serde::Deserialize;

use crate::batch::View;
use crate::json;

/// A condition on a payload of JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// JSON pointer to a value.
    pub pointer: String,
    /// What it must be, as text: a string without quotes, another value as JSON.
    pub equals: String,
}

/// What is wanted. Everything by default.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Types; `None`: all.
    pub types: Option<Vec<u16>>,
    /// All of them must hold. A payload that is no JSON meets none.
    pub conditions: Vec<Condition>,
}

impl Select {
    /// Returns whether a record is wanted.
    pub fn wants(&self, record: &View<'_>) -> bool {
        if self.types.as_ref().is_some_and(|types| !types.contains(&record.type_tag)) {
            return false;
        }
        if self.conditions.is_empty() {
            return true;
        }
        let Ok(value) = json::parse(record.payload) else { return false };
        self.conditions.iter().all(|condition| {
            json::text(&value, &condition.pointer).as_deref() == Some(condition.equals.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    #[test]
    fn types_and_conditions_must_all_hold() {
        let mut batch = Batch::default();
        batch.clear(1);
        let payloads: [(u16, &[u8]); 5] = [
            (1, br#"{"event": "update", "n": 1}"#),
            (2, br#"{"event": "update", "n": 1}"#),
            (1, br#"{"event": "delete", "n": 1}"#),
            (1, br#"{"event": "update", "n": "1"}"#),
            (1, b"update"),
        ];
        for (seq, (type_tag, payload)) in payloads.iter().enumerate() {
            batch.push(seq as u64, *type_tag, 0, payload, b"");
        }
        let wanted = |select: &Select| {
            let all = batch.records();
            all.iter().filter(|it| select.wants(it)).map(|it| it.seq).collect::<Vec<_>>()
        };
        let condition = |pointer: &str, equals: &str| Condition {
            pointer: pointer.to_owned(),
            equals: equals.to_owned(),
        };
        assert_eq!(wanted(&Select::default()), [0, 1, 2, 3, 4]);
        let mut select = Select { types: Some(vec![1]), conditions: Vec::new() };
        assert_eq!(wanted(&select), [0, 2, 3, 4]);
        select.conditions.push(condition("/event", "update"));
        assert_eq!(wanted(&select), [0, 3]);
        select.conditions.push(condition("/n", "2"));
        assert_eq!(wanted(&select), [0; 0]);
    }
}
