//! What was measured, as a table or as JSON.

use std::io::Write as _;

use serde::Serialize;

/// One comparison. `ratio` is how many times better ours is than the peer's.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) peer_name: &'static str,
    pub(crate) peer: f64,
    pub(crate) ratio: f64,
    pub(crate) goal: Option<f64>,
    pub(crate) ours_spread: [f64; 2],
    pub(crate) peer_spread: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fence_cpu_us_per_request: Option<f64>,
    pub(crate) rounds: usize,
}

impl Row {
    /// Compares the medians of what each round gave.
    pub(crate) fn new(
        bench: String,
        unit: &'static str,
        ours: &[f64],
        (peer_name, peer): (&'static str, &[f64]),
        goal: Option<f64>,
    ) -> Self {
        let (our_median, peer_median) = (median(ours), median(peer));
        Self {
            bench,
            unit,
            ours: our_median,
            peer_name,
            peer: peer_median,
            ratio: our_median / peer_median,
            goal,
            ours_spread: spread(ours),
            peer_spread: spread(peer),
            fence_cpu_us_per_request: None,
            rounds: ours.len(),
        }
    }

    /// The same of times, of which less is better.
    pub(crate) fn of_times(
        bench: String,
        unit: &'static str,
        ours: &[f64],
        peer: (&'static str, &[f64]),
        goal: Option<f64>,
    ) -> Self {
        let mut row = Self::new(bench, unit, ours, peer, goal);
        row.ratio = row.peer / row.ours;
        row
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

fn spread(values: &[f64]) -> [f64; 2] {
    values.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], &value| {
        [low.min(value), high.max(value)]
    })
}

/// Prints all rows as one JSON array.
pub(crate) fn print_json(rows: &[Row]) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, rows)?;
    writeln!(output)?;
    Ok(())
}

/// Prints a row per comparison.
pub(crate) fn print_table(rows: &[Row]) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(
        output,
        "{:<30} {:>9} {:>9}  {:<15} {:>6} {:>5}  {:>17} {:>17} {:>7}",
        "bench", "ours", "peer", "unit", "ratio", "goal", "ours min-max", "peer min-max", "cpu us"
    )?;
    for row in rows {
        let goal = row.goal.map_or("-".to_owned(), |goal| format!("{goal:.2}"));
        let mark = match row.goal {
            Some(goal) if row.ratio < goal => " below goal",
            _ => "",
        };
        let processor =
            row.fence_cpu_us_per_request.map_or("-".to_owned(), |time| format!("{time:.2}"));
        writeln!(
            output,
            "{:<30} {:>9} {:>9}  {:<15} {:>6.2} {:>5}  {:>17} {:>17} {:>7}{mark}",
            row.bench,
            short(row.ours),
            short(row.peer),
            row.unit,
            row.ratio,
            goal,
            row.ours_spread.map(short).join("-"),
            row.peer_spread.map(short).join("-"),
            processor,
        )?;
    }
    Ok(())
}

/// `18.4k`, `26.9M`: three digits are all a bench can stand for.
fn short(value: f64) -> String {
    let (scaled, suffix) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let decimals = match scaled {
        scaled if scaled >= 100.0 => 0,
        scaled if scaled >= 10.0 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(
            [9.994, 99.5, 999.0, 18_400.0, 131_072.0, 26_900_000.0].map(short),
            ["9.99", "99.5", "999", "18.4k", "131k", "26.9M"]
        );
    }

    #[test]
    fn of_times_less_is_better() {
        let row = Row::of_times("b".into(), "ms", &[2.0], ("loop", &[10.0]), Some(1.0));
        assert!((row.ratio - 5.0).abs() < f64::EPSILON);
    }

    #[test]
    fn json_has_the_promised_keys() {
        let row = Row::new("b".into(), "IOPS", &[80.0], ("direct", &[100.0]), Some(0.8));
        let value = serde_json::to_value(&row).unwrap();
        for key in ["bench", "unit", "ours", "peer_name", "peer", "ratio", "goal"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert_eq!(value["ratio"], 0.8);
    }
}
