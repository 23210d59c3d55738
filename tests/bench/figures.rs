//! What was measured: medians of interleaved rounds, ratios, limits; as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

/// Rounds of each comparison. Odd, so that the median is one of them.
pub(crate) const ROUNDS: usize = 31;

/// The measurements of one contender, sorted.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new(mut values: Vec<f64>) -> Samples {
        values.sort_by(f64::total_cmp);
        Samples(values)
    }

    pub(crate) fn one(value: f64) -> Samples {
        Samples(vec![value])
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(1, 2)
    }

    fn at(&self, numerator: usize, denominator: usize) -> f64 {
        self.0[(self.0.len() - 1) * numerator / denominator]
    }
}

/// One contender of a comparison: what it is called, and one run of it, timed.
pub(crate) type Contender<'a> = (String, Box<dyn FnMut() -> Duration + 'a>);

/// Lets the contenders run in turn, each round beginning with another one; a first round does not count.
pub(crate) fn interleaved(rounds: usize, contenders: &mut [Contender<'_>]) -> Vec<(String, Samples)> {
    let mut values = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for i in 0..contenders.len() {
            let turn = (round + i) % contenders.len();
            let took = (contenders[turn].1)().as_secs_f64() * 1000.0;
            if round > 0 {
                values[turn].push(took);
            }
        }
    }
    contenders.iter().zip(values).map(|((name, _), v)| (name.clone(), Samples::new(v))).collect()
}

/// One line of the table.
struct Row {
    section: String,
    name: String,
    unit: &'static str,
    samples: Samples,
    /// The median of another row, and how that is called.
    versus: Option<(String, f64)>,
    limit: Option<f64>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.versus.as_ref().map(|(_, other)| self.samples.median() / other)
    }

    fn too_large(&self) -> bool {
        self.limit.is_some_and(|limit| self.samples.median() > limit)
    }

    fn json(&self) -> Value {
        json!({
            "section": self.section, "name": self.name, "unit": self.unit,
            "median": self.samples.median(), "samples": self.samples.0,
            "versus": self.versus.as_ref().map(|v| &v.0), "ratio": self.ratio(), "limit": self.limit,
        })
    }

    fn line(&self) -> String {
        let Samples(all) = &self.samples;
        let digits = if ["ms", "×"].contains(&self.unit) { 2 } else { 0 };
        let spread = match all.len() {
            1 => String::new(),
            _ => format!("{:.digits$} – {:.digits$}", self.samples.at(1, 4), self.samples.at(3, 4)),
        };
        let mut remark = String::new();
        if let (Some((other, _)), Some(ratio)) = (&self.versus, self.ratio()) {
            let _ = write!(remark, "{ratio:.2} × {other}");
        }
        if let Some(limit) = self.limit {
            let verdict = if self.too_large() { "TOO LARGE, limit" } else { "limit" };
            let _ = write!(remark, "{verdict} {limit:.digits$}");
        }
        let median = format!("{:.digits$}", self.samples.median());
        format!("| {} | {median} {} | {spread} | {remark} |", self.name, self.unit)
    }
}

/// Everything of one run.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// One figure.
    pub(crate) fn add(&mut self, section: &str, name: &str, unit: &'static str, samples: Samples) {
        let (section, name) = (section.to_owned(), name.to_owned());
        self.rows.push(Row { section, name, unit, samples, versus: None, limit: None });
    }

    /// One figure that must not be larger than `limit`.
    pub(crate) fn add_limited(
        &mut self,
        section: &str,
        name: &str,
        unit: &'static str,
        value: f64,
        limit: f64,
    ) {
        self.add(section, name, unit, Samples::one(value));
        if let Some(row) = self.rows.last_mut() {
            row.limit = Some(limit);
        }
    }

    /// Several of one kind, each compared with the one called `versus`.
    pub(crate) fn compare(
        &mut self,
        section: &str,
        unit: &'static str,
        measured: Vec<(String, Samples)>,
        versus: &str,
    ) {
        let other = measured.iter().find(|(name, _)| name == versus).map(|(_, s)| s.median());
        for (name, samples) in measured {
            let itself = name == versus;
            self.add(section, &name, unit, samples);
            if let (Some(row), Some(other), false) = (self.rows.last_mut(), other, itself) {
                row.versus = Some((versus.to_owned(), other));
            }
        }
    }

    /// A Markdown table for each section.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for row in &self.rows {
            if row.section != section {
                section = &row.section;
                let _ = write!(
                    text,
                    "\n### {section}\n\n| | median | quartiles | |\n| --- | ---: | ---: | --- |\n"
                );
            }
            let _ = writeln!(text, "{}", row.line());
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        self.rows.iter().map(Row::json).collect()
    }

    /// What is larger than it may be.
    pub(crate) fn too_large(&self) -> Vec<String> {
        self.rows.iter().filter(|r| r.too_large()).map(|r| format!("{}: {}", r.section, r.line())).collect()
    }
}
