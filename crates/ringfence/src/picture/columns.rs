//! Which function is where in the picture: runs of one group, runs in columns.

use crate::isolation::View;

use super::{COLUMN, GAP, LINE};

/// Functions of one group that follow each other in the tree, as places in the view's rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) group: Option<usize>,
    pub(super) rows: Vec<usize>,
}

/// The longest piece of a group that is kept in one piece, whatever the columns' height.
const WHOLE: usize = 40;

/// The runs of every column.
pub(super) fn columns(view: &View<'_>) -> Vec<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, row) in view.rows.iter().enumerate() {
        let group = view.place(row.address);
        match runs.last_mut() {
            Some(run) if run.group == group && run.rows.len() < WHOLE => run.rows.push(index),
            _ => runs.push(Run { group, rows: vec![index] }),
        }
    }
    let all: usize = runs.iter().map(pixels).sum();
    let count = (1..12).find(|count| all / count <= count * COLUMN * 3 / 4).unwrap_or(12);
    // A single column may be as high as it is wide and more; nobody wants two half-empty ones.
    let count = if all <= COLUMN * 6 / 5 { 1 } else { count };
    let most = all.div_ceil(count);
    let mut columns: Vec<Vec<Run>> = vec![Vec::new()];
    let mut filled = 0;
    for run in runs {
        // A column that has room for half a run takes it whole.
        if filled > 0 && filled + pixels(&run) / 2 > most {
            columns.push(Vec::new());
            filled = 0;
        }
        filled += pixels(&run);
        if let Some(column) = columns.last_mut() {
            column.push(run);
        }
    }
    columns
}

fn pixels(run: &Run) -> usize {
    run.rows.len() * LINE + GAP
}
