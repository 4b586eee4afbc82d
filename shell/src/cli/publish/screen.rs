//! The terminal that the bar is drawn on: by the log's thread, so that one that is stopped or slow
//! holds nothing up.

use std::fmt::Write;
use std::io;
use std::sync::Mutex;

use indicatif::TermLike;
use rustix::termios::tcgetwinsize;

use crate::log;
use crate::sync::lock;

/// What is drawn, until it is complete.
#[derive(Debug, Default)]
pub(super) struct Screen(Mutex<String>);

impl Screen {
    fn draw(&self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        lock(&self.0).write_fmt(text).map_err(io::Error::other)
    }

    fn go(&self, n: usize, direction: char) -> io::Result<()> {
        // 0 would be taken for 1.
        if n == 0 { Ok(()) } else { self.draw(format_args!("\x1b[{n}{direction}")) }
    }
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        // One that does not know its width says 0.
        let width = tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
        if width == 0 { 80 } else { width }
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.draw(format_args!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.draw(format_args!("{s}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        log::draw(std::mem::take(&mut *lock(&self.0)));
        Ok(())
    }
}
