//! Pages of labelled lines, and tables. Pure.

use super::output::{Paint, Tone};

/// Width of the labels, with their colon.
const LABEL: usize = 12;

/// A page that grows line by line.
pub(crate) struct Page {
    /// What it says.
    pub(crate) text: String,
    /// How words stand out.
    pub(crate) paint: Paint,
}

impl Page {
    /// An empty one.
    pub(crate) fn new(paint: Paint) -> Page {
        Page { text: String::new(), paint }
    }

    /// `● title`, in the tone of how things are.
    pub(crate) fn title(&mut self, tone: Tone, title: &str) {
        let dot = self.paint.tone(tone, "●");
        self.line(&format!("{dot} {title}"));
    }

    /// `Label: value`.
    pub(crate) fn field(&mut self, label: &str, value: &str) {
        self.line(&format!("{:>LABEL$} {value}", format!("{label}:")));
    }

    /// Another line of the last field.
    pub(crate) fn continued(&mut self, value: &str) {
        self.line(&format!("{:LABEL$} {value}", ""));
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Rows as aligned columns, two spaces apart.
pub(crate) fn columns<const N: usize>(rows: Vec<[String; N]>) -> String {
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// `text`, or something else if there is none.
pub(crate) fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}
