//! What came of each file, counted, and as a table or as JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value as Json, json};

use crate::{
    ask::Checked,
    check,
    file::{Class, File},
};

/// How many mismatches are shown unless all are asked for.
const SHOWN: usize = 20;

const COLUMNS: [&str; 10] =
    ["valid", "lenient", "invalid", "read", "written", "read back", "refused", "explained", "left out", "mismatches"];

/// What is below the table, by title: reasons and how often each.
const SECTIONS: [&str; 3] = ["left out", "refused though the framework takes it", "not written, or not compared"];

/// What came of the vectors of one file, or of all.
#[derive(Default)]
pub(crate) struct Tally {
    file: String,
    format: String,
    counts: [usize; COLUMNS.len()],
    reasons: [BTreeMap<String, usize>; SECTIONS.len()],
    /// The vector, and what is not as it should be.
    mismatches: Vec<(String, String)>,
}

impl Tally {
    /// Runs the vectors of a file. What it says of their number is looked at, too.
    pub(crate) fn of(file: &File) -> Self {
        let mut tally = Self { file: file.name(), format: file.format().into(), ..Self::default() };
        for vector in file.vectors() {
            match vector.class() {
                Ok(class) => tally.counts[class as usize] += 1,
                Err(why) => tally.mismatches.push((vector.id().into(), why)),
            }
            tally.add(vector.id(), check::check(&vector));
        }
        for class in [Class::Valid, Class::Lenient, Class::Invalid] {
            let (name, found) = (COLUMNS[class as usize], tally.counts[class as usize]);
            match file.count(name) {
                Some(said) if said == found => {}
                said => {
                    let said = said.map_or("nothing".into(), |said| said.to_string());
                    tally.mismatches.push(("counts".into(), format!("{name}: the file says {said} and has {found}")));
                }
            }
        }
        tally.counts[9] = tally.mismatches.len();
        tally
    }

    fn add(&mut self, id: &str, checked: Checked) {
        let Checked { read, refused, explained, written, read_back, left_out, strict, unwritten, mismatches } = checked;
        let is_left_out = left_out.is_some();
        for (column, counts) in [read, written, read_back, refused, explained, is_left_out].into_iter().enumerate() {
            self.counts[3 + column] += usize::from(counts);
        }
        let reasons = [left_out.into_iter().collect(), strict.into_iter().collect(), unwritten];
        for (section, reasons) in self.reasons.iter_mut().zip::<[Vec<String>; 3]>(reasons) {
            for reason in reasons {
                *section.entry(reason).or_default() += 1;
            }
        }
        self.mismatches.extend(mismatches.into_iter().map(|why| (id.to_owned(), why)));
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.mismatches.is_empty()
    }

    fn row(&self) -> Vec<String> {
        let texts = [self.file.clone(), self.format.clone()];
        texts.into_iter().chain(self.counts.iter().map(usize::to_string)).collect()
    }
}

/// One row a file, their sum, the reasons, and the mismatches: the first of them, or all.
pub(crate) fn table(tallies: &[Tally], colour: bool, all: bool) -> String {
    let head = ["file", "format"].iter().chain(&COLUMNS).map(ToString::to_string).collect();
    let mut sum = vec!["all".to_owned(), String::new()];
    sum.extend((0..COLUMNS.len()).map(|at| tallies.iter().map(|tally| tally.counts[at]).sum::<usize>().to_string()));
    let mut rows = vec![head];
    rows.extend(tallies.iter().map(Tally::row));
    if tallies.len() > 1 {
        rows.push(sum);
    }
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..2 + COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for (line, row) in rows.iter().enumerate() {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let is_last = at + 1 == row.len();
            let cell = if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            let style = match line {
                0 => "1",
                _ if is_last && row[at] == "0" => "32",
                _ if is_last => "1;31",
                _ => "",
            };
            text += &painted(&cell, if colour { style } else { "" });
            text += if is_last { "\n" } else { "  " };
        }
    }
    for (at, title) in SECTIONS.iter().enumerate() {
        reasons(tallies, at, title, &mut text);
    }
    mismatches(tallies, colour, all, &mut text);
    text
}

fn reasons(tallies: &[Tally], section: usize, title: &str, text: &mut String) {
    let mut sum = BTreeMap::<&str, usize>::new();
    for (reason, count) in tallies.iter().flat_map(|tally| &tally.reasons[section]) {
        *sum.entry(reason).or_default() += count;
    }
    if sum.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:");
    for (reason, count) in sum {
        let _ = writeln!(text, "{count:>6}  {reason}");
    }
}

fn mismatches(tallies: &[Tally], colour: bool, all: bool, text: &mut String) {
    let mut found = tallies.iter().flat_map(|tally| tally.mismatches.iter().map(move |mismatch| (tally, mismatch)));
    let count = found.clone().count();
    if count == 0 {
        return;
    }
    let _ = writeln!(text, "\n{}", painted("mismatches:", if colour { "1;31" } else { "" }));
    let shown = if all { count } else { SHOWN };
    for (tally, (id, why)) in found.by_ref().take(shown) {
        let _ = writeln!(text, "  {}: {id}: {why}", tally.file);
    }
    if count > shown {
        let _ = writeln!(text, "  and {} more; --verbose shows all", count - shown);
    }
}

/// In an ANSI style, where there is one.
fn painted(text: &str, style: &str) -> String {
    if style.is_empty() { text.to_owned() } else { format!("\x1b[{style}m{text}\x1b[0m") }
}

/// The same for machines: every mismatch, names with underscores.
pub(crate) fn json(tallies: &[Tally], passed_over: &[String]) -> Json {
    let name = |title: &str| title.replace(", ", "_").replace(' ', "_");
    let file = |tally: &Tally| {
        let mut file = json!({ "file": tally.file, "format": tally.format });
        for (column, count) in COLUMNS.iter().zip(tally.counts) {
            file[name(column)] = count.into();
        }
        let reasons = SECTIONS.iter().zip(&tally.reasons).map(|(title, reasons)| (name(title), json!(reasons)));
        file["reasons"] = Json::Object(reasons.collect());
        file["differences"] =
            tally.mismatches.iter().map(|(id, why)| json!({ "id": id, "what": why })).collect::<Vec<_>>().into();
        file
    };
    json!({ "files": tallies.iter().map(file).collect::<Vec<_>>(), "passed_over": passed_over })
}
