//! What a bench measured, as tables, and docs/performance.md made of them.

use std::fmt::Write as _;
use std::process::Command;

use crate::shell::{Result, output, root};

/// The rows of one subject.
#[derive(Debug)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What was measured and how, in a sentence.
    pub about: String,
    /// The rows.
    pub rows: Vec<Row>,
    /// What was not measured, and why.
    pub skipped: Vec<String>,
    /// What was to be measured and went wrong, and why.
    pub failed: Vec<String>,
}

impl Section {
    /// A section without rows.
    pub fn new(title: impl Into<String>, about: impl Into<String>) -> Self {
        let (title, about) = (title.into(), about.into());
        Self { title, about, rows: Vec::new(), skipped: Vec::new(), failed: Vec::new() }
    }

    /// Keeps why something could not be measured: what else there is to measure is measured all the same.
    pub fn keep_failure(&mut self, what: &str, result: Result) {
        if let Err(why) = result {
            eprintln!("failed: {what}: {why}");
            self.failed.push(format!("{what}: {}", first_line(why.as_bytes())));
        }
    }
}

/// What must hold of the median.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// The median itself is at most this.
    Value(f64),
    /// Its ratio to what it is compared with is at most this.
    Ratio(f64),
    /// That ratio is at least this.
    LeastRatio(f64),
}

/// The values of one thing that was measured several times.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    what: String,
    unit: &'static str,
    /// The values, sorted.
    values: Vec<f64>,
    /// What it is compared with, and that one's median.
    compared: Option<(String, f64)>,
    limit: Option<Limit>,
}

impl Row {
    /// A row of these values.
    pub fn new(what: impl Into<String>, unit: &'static str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { what: what.into(), unit, values, compared: None, limit: None }
    }

    /// Compares it with another row.
    pub fn compared_with(self, name: impl Into<String>, other: &Self) -> Self {
        self.compared_with_value(name, other.median())
    }

    /// Compares it with a value of the same unit.
    pub fn compared_with_value(mut self, name: impl Into<String>, value: f64) -> Self {
        self.compared = Some((name.into(), value));
        self
    }

    /// Gives it another name.
    pub fn renamed(self, what: impl Into<String>) -> Self {
        Self { what: what.into(), ..self }
    }

    /// Sets what must hold.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.values.get(self.values.len() / 2).copied().unwrap_or_default()
    }

    fn ratio(&self) -> Option<f64> {
        self.compared.as_ref().filter(|(_, value)| *value > 0.0).map(|(_, value)| self.median() / value)
    }

    /// Whether the limit is missed.
    pub fn is_missed(&self) -> bool {
        match self.limit {
            None => false,
            Some(Limit::Value(most)) => self.median() > most,
            Some(Limit::Ratio(most)) => self.ratio().is_none_or(|ratio| ratio > most),
            Some(Limit::LeastRatio(least)) => self.ratio().is_none_or(|ratio| ratio < least),
        }
    }

    fn line(&self) -> String {
        let unit = self.unit;
        let first = self.values.first().copied().unwrap_or_default();
        let last = self.values.last().copied().unwrap_or_default();
        let ratio = match (&self.compared, self.ratio()) {
            (Some((name, _)), Some(ratio)) => format!("{ratio:.2} × {name}"),
            (Some((name, _)), None) => format!("? × {name}"),
            (None, _) => String::new(),
        };
        let bound = match self.limit {
            None => String::new(),
            Some(Limit::Value(most)) => format!("≤ {most} {unit}"),
            Some(Limit::Ratio(most)) => format!("≤ {most} ×"),
            Some(Limit::LeastRatio(bound)) => format!("≥ {bound} ×"),
        };
        let verdict = match (&self.limit, self.is_missed()) {
            (None, _) => "",
            (_, false) => "met",
            (_, true) => "**missed**",
        };
        format!(
            "| {} | {first:.2} | {:.2} | {last:.2} {unit} | {ratio} | {bound} | {verdict} |",
            self.what,
            self.median()
        )
    }
}

/// The sections in Markdown.
pub fn tables(sections: &[Section]) -> String {
    let mut text = String::new();
    for section in sections {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "## {}\n\n{}\n", section.title, section.about);
        if !section.rows.is_empty() {
            text.push_str("| what | minimum | median | maximum | ratio of medians | limit | |\n|---|---|---|---|---|---|---|\n");
            for row in &section.rows {
                let _ = writeln!(text, "{}", row.line());
            }
            text.push('\n');
        }
        for why in &section.skipped {
            let _ = writeln!(text, "skipped: {why}\n");
        }
        for why in &section.failed {
            let _ = writeln!(text, "**failed**: {why}\n");
        }
    }
    text
}

/// Writes docs/performance.md.
pub fn write(sections: &[Section], short: bool) -> Result {
    let word = |command: &mut Command| output(command).map_or_else(|e| e, |text| text.trim().to_owned());
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default().trim().to_owned();
    let engines: Vec<_> = og_lab::installations().iter().map(|one| one.version()).collect();
    let engines = if engines.is_empty() { og_lab::none_installed() } else { engines.join(", ") };
    let ansible = Command::new(crate::shell::target().join("python/bin/ansible")).arg("--version").output();
    let ansible = ansible.map_or_else(|e| e.to_string(), |out| first_line(&out.stdout));
    let missed = sections.iter().flat_map(|s| &s.rows).filter(|row| row.is_missed()).count();
    let limits = sections.iter().flat_map(|s| &s.rows).filter(|row| row.limit.is_some()).count();
    let runs = if short { " --short" } else { "" };
    let text = format!(
        "# Performance\n\nWritten by `cargo xtask bench{runs}`, all rows in one run; ours and the others take turns on the same input. \
         {missed} of {limits} limits are missed.\n\n\
         | | |\n|---|---|\n| date | {} |\n| commit | {} |\n| machine |{} × {cores}, {memory}, {} |\n| compiler | {} |\n\
         | openGauss | {engines} |\n| Ansible | {ansible} |\n\n{}",
        word(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"])),
        word(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(root())),
        model.trim_start_matches([' ', '\t', ':']).trim_end(),
        word(Command::new("uname").arg("-srm")),
        word(Command::new("rustc").arg("--version")),
        tables(sections).trim_end(),
    );
    let file = root().join("docs/performance.md");
    std::fs::write(&file, text + "\n").map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    println!("wrote {}; {missed} of {limits} limits are missed", file.display());
    Ok(())
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_stands_beside_what_was_measured() {
        let mut section = Section::new("Start", "All of it.");
        section.rows.push(Row::new("own", "ms", vec![1.0]));
        section.keep_failure("status", Ok(()));
        section.keep_failure("expand", Err("n2 is down\nand more".to_owned()));
        let text = tables(&[section]);
        assert!(text.contains("| own | 1.00 |"), "{text}");
        assert!(text.ends_with("**failed**: expand: n2 is down\n\n"), "{text}");
        assert!(!text.contains("status"), "{text}");
    }

    #[test]
    fn a_missed_limit_is_told() {
        let peer = Row::new("peer", "ms", vec![3.0, 1.0, 2.0]);
        assert!((peer.median() - 2.0).abs() < f64::EPSILON);
        let own = Row::new("own", "ms", vec![1.0]);
        assert!(!own.clone().compared_with("peer", &peer).limit(Limit::Ratio(0.5)).is_missed());
        assert!(own.clone().compared_with("peer", &peer).limit(Limit::LeastRatio(2.0)).is_missed());
        assert!(own.clone().limit(Limit::Value(0.9)).is_missed());
        // What could not be compared is not met.
        assert!(own.clone().compared_with_value("peer", 0.0).limit(Limit::Ratio(2.0)).is_missed());
        let line = own.compared_with("peer", &peer).limit(Limit::Ratio(0.4)).line();
        assert_eq!(line, "| own | 1.00 | 1.00 | 1.00 ms | 0.50 × peer | ≤ 0.4 × | **missed** |");
    }
}
