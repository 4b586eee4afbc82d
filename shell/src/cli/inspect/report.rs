//! What was found, as text and as JSON.

use std::fmt::Write;

use crate::cli::text::{DAMAGE_MAX, json, plain};

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What it is: `ring`, `cursor segment`, `core dump`, `journal`, `journal segment`, `journal
    /// cursors`, `process`, `unknown`.
    pub what: &'static str,
    /// Where it is.
    pub place: String,
    /// What it says of itself and what was counted, in this order.
    pub facts: Vec<(&'static str, Fact)>,
    /// What is damaged, the first thousand.
    pub damage: Vec<Damage>,
    /// Damaged places beyond them.
    pub more_damage: u64,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
    /// What is in it.
    pub parts: Vec<Report>,
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What, for programs.
    pub kind: &'static str,
    /// Offset in the file, bytes.
    pub offset: Option<u64>,
    /// Position in the ring or journal, granules.
    pub position: Option<u64>,
    /// First and last sequence number of the records concerned, if it is known.
    pub records: Option<(u64, u64)>,
    /// What, for people.
    pub text: String,
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Fact {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Damage {
    /// Names something damaged, without a place yet.
    pub(super) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, offset: None, position: None, records: None, text: text.into() }
    }

    pub(super) fn offset(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    pub(super) fn position(self, position: u64) -> Self {
        Self { position: Some(position), ..self }
    }

    pub(super) fn records(self, first: u64, last: u64) -> Self {
        Self { records: Some((first, last)), ..self }
    }
}

impl Report {
    /// Begins an empty one.
    pub(super) fn new(what: &'static str, place: impl Into<String>) -> Self {
        Self { what, place: place.into(), ..Self::default() }
    }

    pub(super) fn fact(&mut self, name: &'static str, value: impl Into<Fact>) {
        self.facts.push((name, value.into()));
    }

    pub(super) fn damaged(&mut self, damage: Damage) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(damage);
        } else {
            self.more_damage += 1;
        }
    }

    /// Returns how many places are damaged, in all parts.
    #[must_use]
    pub fn damages(&self) -> u64 {
        let parts: u64 = self.parts.iter().map(Self::damages).sum();
        parts + self.damage.len() as u64 + self.more_damage
    }

    /// Returns whether it is, or has in it, something of ours.
    #[must_use]
    pub fn is_known(&self) -> bool {
        match self.what {
            "core dump" | "process" | "unknown" => self.parts.iter().any(Self::is_known),
            _ => true,
        }
    }

    /// Returns it as lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut text, "");
        text
    }

    fn write_text(&self, out: &mut String, indent: &str) -> std::fmt::Result {
        writeln!(out, "{indent}{}: {}", plain(&self.place), self.what)?;
        for (name, value) in &self.facts {
            let name = name.replace('_', " ");
            match value {
                Fact::Number(number) => writeln!(out, "{indent}  {name} {number}")?,
                Fact::Text(text) => writeln!(out, "{indent}  {name} {}", plain(text))?,
            }
        }
        for note in &self.notes {
            writeln!(out, "{indent}  note: {}", plain(note))?;
        }
        for damage in &self.damage {
            write!(out, "{indent}  DAMAGE")?;
            if let Some(offset) = damage.offset {
                write!(out, " at byte {offset:#x}")?;
            }
            let mut between = " (";
            if let Some(position) = damage.position {
                write!(out, "{between}position {position}")?;
                between = ", ";
            }
            match damage.records {
                Some((first, last)) if first == last => write!(out, "{between}record {first}")?,
                Some((first, last)) => write!(out, "{between}records {first} to {last}")?,
                None => {}
            }
            if damage.position.is_some() || damage.records.is_some() {
                out.push(')');
            }
            writeln!(out, ": {}", plain(&damage.text))?;
        }
        if self.more_damage > 0 {
            writeln!(out, "{indent}  DAMAGE at {} further places", self.more_damage)?;
        }
        for part in &self.parts {
            part.write_text(out, &format!("{indent}  "))?;
        }
        Ok(())
    }

    /// Returns it as one object of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_json(&mut text);
        text
    }

    fn write_json(&self, out: &mut String) -> std::fmt::Result {
        let place = json(&self.place);
        write!(out, "{{\"what\":\"{}\",\"place\":{place},\"facts\":{{", self.what)?;
        for (index, (name, value)) in self.facts.iter().enumerate() {
            let between = if index > 0 { "," } else { "" };
            match value {
                Fact::Number(number) => write!(out, "{between}\"{name}\":{number}")?,
                Fact::Text(text) => write!(out, "{between}\"{name}\":{}", json(text))?,
            }
        }
        write!(out, "}},\"damaged\":{},\"damage\":[", self.damages())?;
        for (index, damage) in self.damage.iter().enumerate() {
            let between = if index > 0 { "," } else { "" };
            write!(out, "{between}{{\"kind\":\"{}\"", damage.kind)?;
            let records = damage.records.unzip();
            let numbers = [
                ("offset", damage.offset),
                ("position", damage.position),
                ("first_seq", records.0),
                ("last_seq", records.1),
            ];
            for (name, number) in numbers {
                if let Some(number) = number {
                    write!(out, ",\"{name}\":{number}")?;
                }
            }
            write!(out, ",\"text\":{}}}", json(&damage.text))?;
        }
        let notes: Vec<String> = self.notes.iter().map(|note| json(note)).collect();
        write!(out, "],\"notes\":[{}],\"parts\":[", notes.join(","))?;
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            part.write_json(out)?;
        }
        out.push_str("]}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("ring", "a\u{1b}b");
        report.fact("two_words", 7_u32);
        report.fact("name", "x\"y");
        report.notes.push("noted".to_owned());
        report.damaged(Damage::new("one", "alone"));
        report.damaged(Damage::new("two", "placed").offset(255).position(9).records(3, 3));
        report.damaged(Damage::new("three", "some").records(3, 5));
        report.damaged(Damage::new("four", "there").position(1));
        let mut part = Report::new("unknown", "part");
        part.fact("bytes", 1_u64);
        report.parts.extend([part.clone(), part]);
        report
    }

    #[test]
    fn a_report_is_lines_for_people() {
        let expected = "\
a?b: ring
  two words 7
  name x\"y
  note: noted
  DAMAGE: alone
  DAMAGE at byte 0xff (position 9, record 3): placed
  DAMAGE (records 3 to 5): some
  DAMAGE (position 1): there
  part: unknown
    bytes 1
  part: unknown
    bytes 1
";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn a_report_is_an_object_for_programs() {
        let value: serde_json::Value = serde_json::from_str(&report().json()).expect("JSON");
        let part = serde_json::json!({
            "what": "unknown", "place": "part", "facts": { "bytes": 1 }, "damaged": 0,
            "damage": [], "notes": [], "parts": []
        });
        let expected = serde_json::json!({
            "what": "ring", "place": "a\u{1b}b", "facts": { "two_words": 7, "name": "x\"y" },
            "damaged": 4,
            "damage": [
                { "kind": "one", "text": "alone" },
                {
                    "kind": "two", "offset": 255, "position": 9, "first_seq": 3, "last_seq": 3,
                    "text": "placed"
                },
                { "kind": "three", "first_seq": 3, "last_seq": 5, "text": "some" },
                { "kind": "four", "position": 1, "text": "there" }
            ],
            "notes": ["noted"], "parts": [part, part]
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn damage_beyond_the_first_thousand_is_counted() {
        let mut report = Report::new("ring", "r");
        for _ in 0..1000 {
            report.damaged(Damage::new("d", "d"));
        }
        assert_eq!((report.damage.len(), report.more_damage), (1000, 0));
        assert!(!report.text().contains("further"));
        (0..2).for_each(|_| report.damaged(Damage::new("d", "d")));
        assert_eq!((report.damage.len(), report.more_damage, report.damages()), (1000, 2, 1002));
        assert!(report.text().ends_with("  DAMAGE at 2 further places\n"));
        let whole = Report { parts: vec![report.clone(), report], ..Report::new("process", "p") };
        assert_eq!(whole.damages(), 2004);
    }

    #[test]
    fn what_holds_nothing_of_ours_is_not_known() {
        for what in ["core dump", "process", "unknown"] {
            let mut report = Report::new(what, "p");
            assert!(!report.is_known(), "{what}");
            report.parts.push(Report::new("unknown", "p"));
            assert!(!report.is_known(), "{what}");
            report.parts.push(Report::new("ring", "p"));
            assert!(report.is_known(), "{what}");
        }
        assert!(Report::new("journal", "p").is_known());
    }
}
