//! What a run says: figures with their spread and targets, as a table for people or as JSON.

use crate::target::Target;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One scenario's results.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The scenario.
    pub(crate) scenario: &'static str,
    /// What it was run with.
    pub(crate) settings: BTreeMap<&'static str, u64>,
    /// What it measured.
    pub(crate) figures: Vec<Figure>,
    /// What a reader should know besides.
    pub(crate) notes: Vec<String>,
}

/// One measured number: the median of its samples.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// The median.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// The smallest sample.
    pub(crate) low: f64,
    /// The largest sample.
    pub(crate) high: f64,
    /// How many samples there are.
    pub(crate) samples: usize,
    /// What it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

impl Figure {
    /// The median of `samples`; none at all make a figure of 0.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            name: name.into(),
            value: median(&sorted),
            unit,
            low: sorted.first().copied().unwrap_or(0.0),
            high: sorted.last().copied().unwrap_or(0.0),
            samples: sorted.len(),
            target: None,
            met: None,
        }
    }

    /// The figure with what it should be.
    pub(crate) fn against(mut self, target: Option<Target>) -> Self {
        self.target = target;
        self.met = target.map(|target| self.samples > 0 && target.is_met_by(self.value));
        self
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

impl Report {
    /// An empty report of `scenario`.
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self { scenario, settings: BTreeMap::new(), figures: Vec::new(), notes: Vec::new() }
    }

    /// Notes what the scenario was run with.
    pub(crate) fn set(&mut self, name: &'static str, value: u64) {
        self.settings.insert(name, value);
    }

    /// Adds a figure.
    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// The table.
    pub(crate) fn to_table(&self) -> String {
        let mut text = format!("{}\n", self.scenario);
        let settings: Vec<String> = self.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(text, "  {}", settings.join(", "));
        let width = self.figures.iter().map(|figure| figure.name.chars().count()).max().unwrap_or(0);
        for figure in &self.figures {
            let spread = match figure.samples {
                0 | 1 => String::new(),
                _ => format!("{}..{}", number(figure.low), number(figure.high)),
            };
            let target = match (figure.target, figure.met) {
                (Some(target), Some(met)) => {
                    let (sign, bound) = match target {
                        Target::AtMost(bound) => ("<=", bound),
                        Target::AtLeast(bound) => (">=", bound),
                    };
                    format!("target {sign} {} {}", number(bound), if met { "met" } else { "NOT met" })
                }
                _ => String::new(),
            };
            let line = format!(
                "  {:<width$}  {:>10} {:<12} {:<18} {}",
                figure.name,
                number(figure.value),
                figure.unit,
                spread,
                target
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        text
    }
}

/// A number with as many digits as a reader can use.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        medium if medium >= 100.0 => format!("{value:.1}"),
        // What is almost nothing is not shown as nothing.
        small if small > 0.0 && small < 0.005 => format!("{value:.1e}"),
        _ => format!("{value:.2}"),
    }
}

/// Everything a run has to say.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// The scenarios.
    pub(crate) reports: Vec<Report>,
}

/// Where figures were measured, without which they mean little.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
}

impl Machine {
    /// This machine; what cannot be read is left empty.
    pub(crate) fn this() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: model.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            cores: cores_count(),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// Cores that this process may use.
pub(crate) fn cores_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Document {
    /// All tables, under a line that says where they were measured.
    pub(crate) fn to_table(&self) -> String {
        let Machine { processor, cores, kernel } = &self.machine;
        let mut text = format!("{cores} cores of {processor}, Linux {kernel}\n");
        for report in &self.reports {
            let _ = write!(text, "\n{}", report.to_table());
        }
        text
    }

    /// The same as JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("the document holds strings and finite numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_of_its_samples() {
        assert!((Figure::new("x", "µs", &[9.0, 1.0, 2.0]).value - 2.0).abs() < f64::EPSILON);
        assert!((Figure::new("x", "µs", &[1.0, 2.0]).value - 1.5).abs() < f64::EPSILON);
        assert!(Figure::new("x", "µs", &[]).value.abs() < f64::EPSILON);
    }

    #[test]
    fn a_target_is_met_or_not_and_never_by_nothing() {
        let target = Some(Target::AtMost(2.0));
        assert_eq!(Figure::new("x", "µs", &[2.0]).against(target).met, Some(true));
        assert_eq!(Figure::new("x", "µs", &[2.1]).against(target).met, Some(false));
        assert_eq!(Figure::new("x", "µs", &[]).against(target).met, Some(false));
        assert_eq!(Figure::new("x", "µs", &[2.1]).against(None).met, None);
    }

    #[test]
    fn a_target_that_is_a_least_is_met_by_more() {
        let target = Some(Target::AtLeast(2.0));
        assert_eq!(Figure::new("x", "1/s", &[2.0]).against(target).met, Some(true));
        assert_eq!(Figure::new("x", "1/s", &[1.9]).against(target).met, Some(false));
        assert_eq!(Figure::new("x", "1/s", &[]).against(target).met, Some(false));
    }

    #[test]
    fn a_report_names_its_figures_in_table_and_json() {
        let mut report = Report::new("register");
        report.set("AoRs", 100);
        report.add(Figure::new("refresh", "µs", &[3.0, 4.0]).against(Some(Target::AtMost(12.0))));
        let document = Document { machine: Machine::this(), reports: vec![report] };
        assert!(document.to_table().contains("target <= 12.00 met"), "{}", document.to_table());
        let json: serde_json::Value = serde_json::from_str(&document.to_json()).unwrap();
        assert_eq!(json["reports"][0]["figures"][0]["met"], true);
        assert_eq!(json["reports"][0]["figures"][0]["target"]["at_most"], 12.0);
    }
}
