//! An aligned table of plain text.

use std::io::{self, Write};

/// On which side a column is flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows under a header; widths are those of the widest cells.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    /// Prints header and rows, or `nothing` where there are none.
    pub(super) fn print(&self, nothing: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(out, "{nothing}");
        }
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(column, (name, _))| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(name.len())
            })
            .collect();
        let names: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        std::iter::once(&names).chain(&self.rows).try_for_each(|row| self.print_row(row, &widths, out))
    }

    fn print_row(&self, row: &[String], widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .zip(&self.columns)
            .map(|((cell, width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())
    }
}

/// Text that may come from a broker or a contract, without what could steer a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_nothing_steers_the_terminal() {
        let mut table = Table::new(&[("A", Align::Left), ("NUMBER", Align::Right), ("B", Align::Left)]);
        table.row(vec!["x".into(), "1.5".into(), "red \u{1b}[31m\nnew".into()]);
        table.row(vec!["longer".into(), "-100.25".into(), String::new()]);
        let mut out = Vec::new();
        table.print("nothing", &mut out).unwrap();
        let expected = "A        NUMBER  B\nx           1.5  red  [31m new\nlonger  -100.25\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
