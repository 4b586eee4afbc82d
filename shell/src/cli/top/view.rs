//! The screen: one table at a time, sorted and scrolled.

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table};
use serde_json::Value;

use super::fit::{self, SPACING};
use super::look::{Holds, KINDS, Row, Snapshot};

/// What is looked at, and how.
#[derive(Default)]
pub(super) struct View {
    pub(super) snapshot: Snapshot,
    /// Why the last look failed.
    pub(super) error: Option<String>,
    pub(super) is_paused: bool,
    /// Index in `KINDS`.
    kind: usize,
    /// Column by which each kind is sorted; `None`: as it comes.
    sort: [Option<usize>; KINDS.len()],
    is_reversed: bool,
    first: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

impl View {
    /// Begins with the rings, or with what is wrong if something is.
    pub(super) fn new() -> Self {
        Self { kind: 1, ..Self::default() }
    }

    /// Does what a key means.
    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        let columns = KINDS[self.kind].columns.len();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Next::Quit;
            }
            KeyCode::Tab | KeyCode::Right => self.show((self.kind + 1) % KINDS.len()),
            KeyCode::BackTab | KeyCode::Left => {
                self.show((self.kind + KINDS.len() - 1) % KINDS.len());
            }
            KeyCode::Char(digit @ '1'..='6') => {
                self.show(usize::try_from(u32::from(digit) - u32::from('1')).unwrap_or(0));
            }
            KeyCode::Char('s' | '>') => {
                let next = self.sort[self.kind].map_or(0, |column| column + 1);
                self.sort[self.kind] = (next < columns).then_some(next);
            }
            KeyCode::Char('<') => {
                let sort = self.sort[self.kind];
                self.sort[self.kind] = sort.map_or(Some(columns - 1), |it| it.checked_sub(1));
            }
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Down | KeyCode::Char('j') => self.first += 1,
            KeyCode::Up | KeyCode::Char('k') => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += 10,
            KeyCode::PageUp => self.first = self.first.saturating_sub(10),
            KeyCode::Home => self.first = 0,
            _ => {}
        }
        let rows = self.snapshot.rows[self.kind].len();
        self.first = self.first.min(rows.saturating_sub(1));
        Next::Stay
    }

    fn show(&mut self, kind: usize) {
        (self.kind, self.first) = (kind, 0);
    }

    /// The rows of what is shown, in order.
    fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.snapshot.rows[self.kind].iter().collect();
        if let Some(column) = self.sort[self.kind] {
            let key = KINDS[self.kind].columns[column].key;
            // Numbers from the largest down, texts from A on.
            rows.sort_by(|one, other| compared(one.get(key), other.get(key)));
        }
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let head_lines = self.head(frame.area().width);
        let head_height = u16::try_from(head_lines.len()).unwrap_or(u16::MAX);
        let parts = [Constraint::Length(head_height), Constraint::Min(1), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(Paragraph::new(head_lines), head);
        let missing = self.draw_table(frame, body);
        let mut keys =
            "q quit  Tab/1-6 table  s sort  r reverse  p pause  \u{2191}\u{2193} scroll".to_owned();
        if missing > 0 {
            let columns = if missing == 1 { "column" } else { "columns" };
            // First, so that a narrow terminal shows it.
            keys = format!("+{missing} {columns}  {keys}");
        }
        frame.render_widget(Paragraph::new(keys).style(Style::new().dim()), foot);
    }

    /// The lines above the table: the state of the process and the list of tables, in as many lines
    /// as they take.
    fn head(&self, width: u16) -> Vec<Line<'static>> {
        let process = &self.snapshot.process;
        let ready = match (&self.error, process.get("ready")) {
            (Some(error), _) => format!("no answer: {error}"),
            (None, Some(Value::Bool(true))) => "ready".to_owned(),
            (None, Some(_)) => format!("NOT READY: {}", shown(process.get("not_ready"))),
            (None, None) => "answers".to_owned(),
        };
        let connections = process.get("connections").map_or(String::new(), |it| {
            format!("  connections {}/{}", shown(it.get("open")), shown(it.get("limit")))
        });
        let paused = if self.is_paused { "  PAUSED" } else { "" };
        let first =
            format!("aqueduct {}  {ready}{connections}{paused}", shown(process.get("version")));
        let mut lines = vec![Line::from(first.clone())];
        if fit::width_of(&first) > usize::from(width) {
            let all = fit::lines(Holds::Sentence, &first, width.into());
            lines = all.into_iter().map(Line::from).collect();
        }
        let mut tabs = Line::default();
        for (index, kind) in KINDS.iter().enumerate() {
            let count = self.snapshot.rows[index].len();
            let mut style = Style::new();
            if index == self.kind {
                style = style.add_modifier(Modifier::REVERSED);
            }
            if kind.key == "findings" && count > 0 {
                style = style.red().bold();
            }
            let tab = Span::styled(format!(" {} {} {count} ", index + 1, kind.key), style);
            if tabs.width() + tab.width() > width.into() {
                lines.push(std::mem::take(&mut tabs));
            }
            tabs.push_span(tab);
        }
        lines.push(tabs);
        lines
    }

    /// Draws what has room; returns how many columns have none.
    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) -> usize {
        let columns = KINDS[self.kind].columns;
        let rows: Vec<Vec<String>> = self
            .rows()
            .into_iter()
            .skip(self.first)
            .take(area.height.into())
            .map(|row| columns.iter().map(|column| shown(row.get(column.key))).collect())
            .collect();
        let headings = columns.iter().enumerate().map(|(index, column)| {
            let mark = match (self.sort[self.kind] == Some(index), self.is_reversed) {
                (true, false) => "\u{25bc}",
                (true, true) => "\u{25b2}",
                _ => "",
            };
            format!("{}{mark}", column.heading)
        });
        let headings: Vec<String> = headings.collect();
        let chosen = fit::fit(columns, &headings, &rows, self.sort[self.kind], area.width.into());
        let widths = chosen
            .iter()
            .map(|(_, width)| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
        let cells = rows.iter().map(|row| {
            let cell = |&(index, width): &(usize, usize)| {
                fit::lines(columns[index].holds, &row[index], width)
            };
            let cells: Vec<Vec<String>> = chosen.iter().map(cell).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(1);
            let cells = Cells::new(cells.into_iter().map(|lines| Cell::from(lines.join("\n"))));
            cells.height(u16::try_from(height).unwrap_or(u16::MAX))
        });
        let header = Cells::new(chosen.iter().map(|(index, _)| Cell::from(&*headings[*index])));
        let spacing = u16::try_from(SPACING).unwrap_or(u16::MAX);
        let table = Table::new(cells, widths)
            .header(header.style(Style::new().bold().underlined()))
            .column_spacing(spacing);
        frame.render_widget(table, area);
        columns.len() - chosen.len()
    }
}

fn compared(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one.and_then(Value::as_f64), other.and_then(Value::as_f64)) {
        (Some(one), Some(other)) => other.total_cmp(&one),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => shown(one).cmp(&shown(other)),
    }
}

/// A value in a cell. What a terminal could obey is left out.
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.chars().filter(|it| !it.is_control()).collect(),
        Some(Value::Array(values)) => {
            let texts: Vec<String> = values.iter().map(|value| shown(Some(value))).collect();
            texts.join("; ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn view() -> View {
        let mut view = View::new();
        let row = |value: Value| value.as_object().cloned().expect("an object");
        for (name, records) in [("a", 3.0), ("b", 20.5), ("c", 100.0)] {
            view.snapshot.rows[1].push(row(json!({"name": name, "records_per_second": records})));
        }
        view.snapshot.rows[0].push(row(json!({"kind": "ring_full", "text": "\u{1b}[2Jfull"})));
        view.snapshot.process = row(json!({"version": "0.1.0", "ready": true}));
        view
    }

    fn screen(view: &View) -> String {
        screen_of(view, 100)
    }

    fn screen_of(view: &View, columns: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, 12)).expect("a buffer");
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    fn press(view: &mut View, keys: &str) {
        for key in keys.chars() {
            assert_eq!(view.key(KeyEvent::from(KeyCode::Char(key))), Next::Stay);
        }
    }

    /// The first cells of the table's lines.
    fn names(view: &View) -> Vec<char> {
        let screen = screen(view);
        let lines = screen.lines().skip(3);
        lines.filter_map(|line| line.trim_start_matches('"').chars().next()).take(3).collect()
    }

    #[test]
    fn a_table_is_shown_and_sorted_by_each_column_in_both_directions() {
        let mut view = view();
        let first = screen(&view);
        assert!(first.contains("RECORDS/S") && first.contains("20.5"), "{first}");
        assert!(first.contains("1 findings 1") && first.contains("ready"), "{first}");
        assert_eq!(names(&view), ['a', 'b', 'c']);
        press(&mut view, "sss");
        assert_eq!(names(&view), ['c', 'b', 'a'], "by the rate, the largest first");
        press(&mut view, "r");
        assert_eq!(names(&view), ['a', 'b', 'c']);
        press(&mut view, "<<r");
        assert_eq!(names(&view), ['a', 'b', 'c'], "by the name");
    }

    #[test]
    fn what_is_wrong_is_shown_without_what_a_terminal_would_obey() {
        let mut view = view();
        press(&mut view, "1");
        let shown = screen(&view);
        assert!(shown.contains("ring_full") && shown.contains("[2Jfull"), "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert_eq!(view.key(KeyEvent::from(KeyCode::Char('q'))), Next::Quit);
    }

    #[test]
    fn eighty_columns_hold_names_whole_numbers_and_sentences_in_further_lines() {
        let row = |value: Value| value.as_object().cloned().expect("an object");
        let mut view = view();
        view.snapshot.rows[1] = vec![row(json!({
            "name": "europe.orders.received.v2", "state": "open", "records_per_second": 123_456.7,
            "bytes_per_second": 22_222_222.0, "refused_per_second": 0.5, "used_percent": 12.3,
            "next_seq": 98_765_432_100_u64, "attached": 41, "full_waits_per_second": 7.5,
            "full_waits": 1_234_567, "wakes_per_second": 5_432.1,
        }))];
        let text = "the reader has not moved for 31 s, and holds back 1,048,576 bytes of the ring";
        view.snapshot.rows[0] = vec![row(json!({
            "kind": "reader_stuck", "ring": "europe.orders.received.v2", "reader": "pricing",
            "text": text,
        }))];
        let shown = screen_of(&view, 80);
        for whole in ["123456.7", "22222222.0", "0.5", "12.3", " 41 ", "7.5"] {
            assert!(shown.contains(whole), "{whole}: {shown}");
        }
        for left_out in ["98765432100", "1234567 ", "5432.1"] {
            assert!(!shown.contains(left_out), "{left_out}: {shown}");
        }
        assert!(shown.contains("+3 columns"), "{shown}");
        assert!(shown.contains("europe\u{2026}ved.v2"), "{shown}");
        assert!(shown.contains("6 forwarders 0"), "in a line of its own: {shown}");
        press(&mut view, "sssssss");
        let shown = screen_of(&view, 80);
        assert!(shown.contains("98765432100"), "what it is sorted by: {shown}");
        press(&mut view, "1");
        let shown = screen_of(&view, 80);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let found = words(&shown.replace('"', " "));
        for word in words(text) {
            assert!(found.contains(&word), "{word}: {shown}");
        }
        let wide = screen_of(&view, 200);
        assert!(wide.contains(text) && wide.contains("europe.orders.received.v2"), "{wide}");
        assert!(!wide.contains("column"), "{wide}");
    }

    #[test]
    fn scrolling_ends_at_the_last_row() {
        let mut view = view();
        press(&mut view, "jjjjjjj");
        assert_eq!(names(&view)[0], 'c');
        press(&mut view, "k");
        assert_eq!(names(&view)[0], 'b');
    }
}
