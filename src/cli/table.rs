//! [`Table`]: lines of columns for people, which fit the width of the terminal.

use std::borrow::Cow;
use std::fmt::Display;

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};

/// The narrowest width of a column that is made smaller.
const LEAST: usize = 6;

/// How the cells of a column are aligned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    /// For numbers, which are never cut.
    Right,
}

/// The columns of a table. A last column follows, which takes the rest of the line.
pub(crate) struct Table<const N: usize> {
    columns: [(usize, Align); N],
    /// The width of the terminal. Without one nothing is cut.
    width: Option<usize>,
}

impl<const N: usize> Table<N> {
    /// A table with these widths. In a narrow terminal, columns of text become smaller, the widest one first.
    pub(crate) fn new(columns: [(usize, Align); N]) -> Self {
        Self::of_width(columns, terminal())
    }

    fn of_width(mut columns: [(usize, Align); N], width: Option<usize>) -> Self {
        while let Some(width) = width {
            let taken: usize = columns.iter().map(|(width, _)| width + 1).sum();
            let texts = columns.iter_mut().filter(|(width, align)| *align == Align::Left && *width > LEAST);
            match texts.max_by_key(|(width, _)| *width) {
                Some(widest) if taken + LEAST > width => widest.0 -= 1,
                _ => break,
            }
        }
        Self { columns, width }
    }

    /// A line with these cells, and `last` in the last column. A text that does not fit ends with `…`.
    pub(crate) fn line(&self, cells: [&dyn Display; N], last: &str) -> String {
        let mut line = String::new();
        for (cell, (width, align)) in cells.into_iter().zip(self.columns) {
            let cell = cell.to_string();
            let is_cut = self.width.is_some() && align == Align::Left;
            let alignment = if align == Align::Left { Alignment::Left } else { Alignment::Right };
            line += &pad_str(&cell, width, alignment, is_cut.then_some("…"));
            line.push(' ');
        }
        if self.columns[N - 1].1 == Align::Right {
            line.push(' ');
        }
        line += last;
        let line = line.trim_end();
        let line = match self.width {
            Some(width) if measure_text_width(line) > width => truncate_str(line, width, "…"),
            _ => Cow::Borrowed(line),
        };
        format!("{line}\n")
    }
}

/// The width of standard output if that is a terminal: `COLUMNS`, or else as the terminal says.
fn terminal() -> Option<usize> {
    let term = Term::stdout();
    if !term.is_term() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
    columns.filter(|columns| *columns > 0).or_else(|| term.size_checked().map(|(_, columns)| columns.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(usize, Align); 2] = [(12, Align::Left), (5, Align::Right)];

    #[test]
    fn nothing_is_cut_without_a_terminal() {
        let table = Table::of_width(COLUMNS, None);
        let name = "a-name-that-is-longer-than-its-column";
        assert_eq!(table.line([&name, &123_456_789], "the end"), format!("{name} 123456789  the end\n"));
        assert_eq!(table.line([&"acme", &7], ""), "acme             7\n");
    }

    #[test]
    fn a_line_fits_the_terminal_and_says_what_is_cut() {
        let table = Table::of_width(COLUMNS, Some(24));
        assert_eq!(table.line([&"acme", &7], "x"), "acme            7  x\n");
        assert_eq!(
            table.line([&"acme-and-globex", &7], "a remark that is long"),
            "acme-and-g…     7  a re…\n"
        );
        // A wide character takes two columns.
        assert_eq!(table.line([&"日本語日本語", &7], "x"), "日本語日本…     7  x\n");
        for width in 1..40 {
            let table = Table::of_width(COLUMNS, Some(width));
            let line = table.line([&"a-name-that-is-long", &7], "a remark that is long");
            assert!(measure_text_width(line.trim_end()) <= width, "{width}: {line}");
        }
    }
}
