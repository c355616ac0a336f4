//! [`Progress`]: what a move does now, on standard error.

use indicatif::ProgressBar;

use super::output::note;
use super::progress::bar;
use crate::operations::MoveProgress;

/// Shows the step, the table and its rows: in one line that changes at a terminal, and otherwise a line for each step and
/// each table.
pub(crate) struct Progress {
    bar: ProgressBar,
    last: Option<MoveProgress>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { bar: bar(None, "{spinner} {msg}"), last: None }
    }

    pub(crate) fn show(&mut self, now: &MoveProgress) {
        if !self.bar.is_hidden() {
            self.bar.set_message(now.to_string());
            return;
        }
        // The number of rows grows within a table. The line is written when it is final.
        let goes_on = self.last.as_ref().is_some_and(|last| {
            last.step == now.step && last.table == now.table && now.table.is_some() && last.rows <= now.rows
        });
        if !goes_on {
            self.written();
        }
        if now.table.is_none() {
            note(&now.to_string());
        }
        self.last = Some(now.clone());
    }

    /// Ends the line, or writes the last one.
    pub(crate) fn end(&mut self) {
        self.written();
        self.bar.finish_and_clear();
    }

    fn written(&mut self) {
        if let Some(last) = self.last.take().filter(|last| last.table.is_some()) {
            note(&last.to_string());
        }
    }
}
