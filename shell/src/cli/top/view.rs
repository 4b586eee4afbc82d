//! The screen: one table at a time, sorted and scrolled.

use std::cmp::Ordering;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table};
use serde_json::Value;

use super::look::{KINDS, Row, Snapshot};

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
            let (key, _) = KINDS[self.kind].columns[column];
            // Numbers from the largest down, texts from A on.
            rows.sort_by(|one, other| compared(one.get(key), other.get(key)));
        }
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let parts = [Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)];
        let [head, body, foot] = Layout::vertical(parts).areas(frame.area());
        self.draw_head(frame, head);
        self.draw_table(frame, body);
        let keys = "q quit  Tab/1-6 table  s sort  r reverse  p pause  \u{2191}\u{2193} scroll";
        frame.render_widget(Paragraph::new(keys).style(Style::new().dim()), foot);
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
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
        let mut tabs = Vec::new();
        for (index, kind) in KINDS.iter().enumerate() {
            let count = self.snapshot.rows[index].len();
            let mut style = Style::new();
            if index == self.kind {
                style = style.add_modifier(Modifier::REVERSED);
            }
            if kind.key == "findings" && count > 0 {
                style = style.red().bold();
            }
            tabs.push(Span::styled(format!(" {} {} {count} ", index + 1, kind.key), style));
        }
        frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(tabs)]), area);
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect) {
        let kind = &KINDS[self.kind];
        let rows: Vec<Vec<String>> = self
            .rows()
            .into_iter()
            .skip(self.first)
            .take(area.height.into())
            .map(|row| kind.columns.iter().map(|(key, _)| shown(row.get(*key))).collect())
            .collect();
        let headings = kind.columns.iter().enumerate().map(|(index, (_, heading))| {
            let mark = match (self.sort[self.kind] == Some(index), self.is_reversed) {
                (true, false) => "\u{25bc}",
                (true, true) => "\u{25b2}",
                _ => "",
            };
            format!("{heading}{mark}")
        });
        let headings: Vec<String> = headings.collect();
        let widths = headings.iter().enumerate().map(|(column, heading)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            let width = cells.chain([heading.chars().count()]).max().unwrap_or(0);
            Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX))
        });
        let widths: Vec<Constraint> = widths.collect();
        let cells = |row: Vec<String>| Cells::new(row.into_iter().map(Cell::from));
        let table = Table::new(rows.into_iter().map(cells), widths)
            .header(cells(headings).style(Style::new().bold().underlined()))
            .column_spacing(2);
        frame.render_widget(table, area);
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
        let mut terminal = Terminal::new(TestBackend::new(100, 12)).expect("a buffer");
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
    fn scrolling_ends_at_the_last_row() {
        let mut view = view();
        press(&mut view, "jjjjjjj");
        assert_eq!(names(&view)[0], 'c');
        press(&mut view, "k");
        assert_eq!(names(&view)[0], 'b');
    }
}
