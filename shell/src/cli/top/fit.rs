//! Which columns of a table are shown in so much room, and how wide each is.
//!
//! Pure over texts. Numbers are shown whole or not at all: half a number is another number. Names
//! are shortened in the middle, where they say the least, and sentences go on in further lines.

use ratatui::text::Span;

use super::look::{Column, Holds};

/// Between two columns, cells of the terminal, as all widths here.
pub(super) const SPACING: usize = 2;
/// A name keeps so many cells, a sentence so many in a line.
const NAME_MIN: usize = 12;
const SENTENCE_MIN: usize = 28;
/// Lines that a sentence may take.
const LINES_MAX: usize = 4;

/// A column that is shown: its index and its width.
pub(super) type Shown = (usize, usize);

/// Returns how many cells a terminal gives a text: of some scripts, two for a character.
pub(super) fn width_of(text: &str) -> usize {
    Span::raw(text).width()
}

/// Chooses columns for so much room. `rows` are texts as they would be shown with room for all; the
/// column `kept` is left out only where its numbers could not be shown whole.
pub(super) fn fit(
    columns: &[Column],
    headings: &[String],
    rows: &[Vec<String>],
    kept: Option<usize>,
    room: usize,
) -> Vec<Shown> {
    let length = |text: &String| width_of(text);
    let cells = |index: usize| rows.iter().filter_map(move |row| row.get(index));
    let whole: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(index, heading)| cells(index).map(length).max().unwrap_or(0).max(length(heading)))
        .collect();
    let least = |index: usize| match columns[index].holds {
        Holds::Number => whole[index],
        Holds::Name => whole[index].min(length(&headings[index]).max(NAME_MIN)),
        Holds::Sentence => whole[index].min(SENTENCE_MIN),
    };
    let taken = |shown: &[Shown]| {
        let widths: usize = shown.iter().map(|(_, width)| width).sum();
        widths + SPACING * shown.len().saturating_sub(1)
    };
    let mut shown: Vec<Shown> = (0..columns.len()).map(|index| (index, least(index))).collect();
    while taken(&shown) > room {
        // First what is empty, then what matters least; of equals the last.
        let is_empty = |index: usize| cells(index).all(String::is_empty);
        let leaves = shown
            .iter()
            .enumerate()
            .filter(|(_, (index, _))| kept != Some(*index) && columns[*index].rank > 0)
            .max_by_key(|(_, (index, _))| (is_empty(*index), columns[*index].rank, *index));
        let Some((place, _)) = leaves else { break };
        shown.remove(place);
    }
    // What a terminal would squeeze: names may be, numbers may not.
    while taken(&shown) > room
        && let Some(place) =
            shown.iter().rposition(|(index, _)| matches!(columns[*index].holds, Holds::Number))
    {
        shown.remove(place);
    }
    // Names first: they are short, and a sentence has further lines.
    let mut spare = room.saturating_sub(taken(&shown));
    for grows in [Holds::Name, Holds::Sentence] {
        while spare > 0 {
            let before = spare;
            for (index, width) in &mut shown {
                if columns[*index].holds == grows && *width < whole[*index] && spare > 0 {
                    (*width, spare) = (*width + 1, spare - 1);
                }
            }
            if spare == before {
                break;
            }
        }
    }
    shown
}

/// Makes a text fit its column: lines of at most `width`, at least one.
pub(super) fn lines(holds: Holds, text: &str, width: usize) -> Vec<String> {
    match holds {
        Holds::Number => vec![text.to_owned()],
        Holds::Name => vec![shortened(text, width)],
        Holds::Sentence => wrapped(text, width),
    }
}

/// Leaves out the middle of what is longer than `width`.
fn shortened(text: &str, width: usize) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    // What tells names apart is more often at their end.
    let of_end = kept.div_ceil(2);
    let end: String = fitting(text.chars().rev(), of_end).chars().rev().collect();
    let start = fitting(text.chars(), kept - of_end);
    format!("{start}\u{2026}{end}")
}

/// Returns the first characters that have room in `width`.
fn fitting(characters: impl Iterator<Item = char>, width: usize) -> String {
    let mut text = String::new();
    for character in characters {
        text.push(character);
        if width_of(&text) > width {
            text.pop();
            break;
        }
    }
    text
}

/// Breaks a sentence between words; a word that is longer than a line is shortened. What is left
/// after the last line is left out.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let word = shortened(word, width);
        if line.is_empty() {
            line = word;
        } else if width_of(&line) + 1 + width_of(&word) <= width {
            line = format!("{line} {word}");
        } else if lines.len() + 1 < LINES_MAX {
            lines.push(std::mem::replace(&mut line, word));
        } else {
            // Whole words: half of a number is another one.
            while width_of(&line) + 2 > width
                && let Some((before, _)) = line.rsplit_once(' ')
            {
                let end = before.len();
                line.truncate(end);
            }
            line = if width_of(&line) + 2 > width {
                "\u{2026}".to_owned()
            } else {
                format!("{line} \u{2026}")
            };
            break;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::super::look::{name, number, sentence};
    use super::*;

    const COLUMNS: [Column; 5] = [
        name("name", "RING", 0),
        number("rate", "RECORDS/S", 1),
        number("waits", "WAITS", 3),
        name("peer", "PEER", 2),
        sentence("text", "WHAT", 0),
    ];

    fn headings() -> Vec<String> {
        COLUMNS.iter().map(|column| column.heading.to_owned()).collect()
    }

    fn chosen(row: &[&str; 5], kept: Option<usize>, room: usize) -> Vec<Shown> {
        let rows = vec![row.iter().map(|&cell| cell.to_owned()).collect()];
        let shown = fit(&COLUMNS, &headings(), &rows, kept, room);
        let taken: usize = shown.iter().map(|(_, width)| width + SPACING).sum();
        assert!(taken <= room + SPACING, "{shown:?} in {room}");
        shown
    }

    const ROW: [&str; 5] =
        ["eu.orders.received.v2", "120000.5", "17", "10.0.0.1:9", "a sentence of some words"];

    #[test]
    fn everything_is_shown_whole_where_there_is_room() {
        let whole = [(0, 21), (1, 9), (2, 5), (3, 10), (4, 24)];
        assert_eq!(chosen(&ROW, None, 77), whole);
        assert_eq!(chosen(&ROW, None, 200), whole);
    }

    #[test]
    fn names_give_way_first_then_the_columns_that_matter_least_and_no_number_is_cut() {
        assert_eq!(chosen(&ROW, None, 76)[0], (0, 20), "one character of the name");
        assert_eq!(chosen(&ROW, None, 68)[0], (0, 12));
        let indices = |shown: Vec<Shown>| shown.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(indices(chosen(&ROW, None, 67)), [0, 1, 3, 4], "no waits, of rank 3");
        assert_eq!(indices(chosen(&ROW, Some(2), 67)), [0, 1, 2, 4], "but what is sorted by stays");
        assert_eq!(indices(chosen(&ROW, None, 55)), [0, 1, 4]);
        assert_eq!(indices(chosen(&ROW, None, 40)), [0, 4]);
        let mut empty = ROW;
        empty[1] = "";
        assert_eq!(indices(chosen(&empty, None, 67)), [0, 2, 3, 4], "an empty one before others");
    }

    #[test]
    fn what_is_never_left_out_stays_in_a_room_that_is_too_small() {
        let rows = vec![ROW.iter().map(|&cell| cell.to_owned()).collect()];
        assert_eq!(fit(&COLUMNS, &headings(), &rows, None, 1), [(0, 12), (4, 24)]);
        assert_eq!(fit(&COLUMNS, &headings(), &rows, Some(1), 40), [(0, 14), (4, 24)], "no half");
        assert_eq!(fit(&COLUMNS, &headings(), &[], None, 80).len(), 5, "no rows");
    }

    #[test]
    fn a_name_keeps_its_start_and_its_end() {
        assert_eq!(lines(Holds::Name, "eu.orders.received.v2", 12), ["eu.or\u{2026}ved.v2"]);
        assert_eq!(lines(Holds::Name, "short", 12), ["short"]);
        assert_eq!(
            lines(Holds::Name, "\u{e4}\u{f6}\u{fc}\u{e4}\u{f6}\u{fc}", 4),
            ["\u{e4}\u{2026}\u{f6}\u{fc}"]
        );
        assert_eq!(lines(Holds::Name, "abc", 1), ["\u{2026}"]);
        // Of two cells each.
        let wide = "\u{8a02}\u{55ae}\u{5df2}\u{6536}";
        assert_eq!(lines(Holds::Name, wide, 8), [wide]);
        assert_eq!(lines(Holds::Name, wide, 7), ["\u{8a02}\u{2026}\u{6536}"]);
        assert_eq!(lines(Holds::Number, "120000.5", 3), ["120000.5"]);
    }

    #[test]
    fn a_sentence_goes_on_in_further_lines_and_says_when_it_is_not_all() {
        let text = "no reader is attached: 48 records, the oldest 1.4 s old";
        let whole = ["no reader is", "attached: 48", "records, the", "oldest 1.4 s old"];
        assert_eq!(lines(Holds::Sentence, text, 16)[..2], ["no reader is", "attached: 48"]);
        assert_eq!(lines(Holds::Sentence, text, 16).len(), whole.len());
        let narrow = lines(Holds::Sentence, text, 12);
        assert_eq!(narrow, ["no reader is", "attached: 48", "records, the", "oldest 1.4 \u{2026}"]);
        let number = "one two three four it holds 1,048,576 back";
        let at_its_end = ["one two", "three four", "it holds", "\u{2026}"];
        assert_eq!(lines(Holds::Sentence, number, 10)[..3], at_its_end[..3]);
        assert_eq!(lines(Holds::Sentence, number, 10)[3], at_its_end[3], "no half of a number");
        assert_eq!(lines(Holds::Sentence, text, 80), [text]);
        assert_eq!(lines(Holds::Sentence, "", 80), [""]);
        assert_eq!(lines(Holds::Sentence, "a-word-that-is-longer", 9), ["a-wo\u{2026}nger"]);
    }
}
