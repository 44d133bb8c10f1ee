//! What is wrong with a configuration, and where, shown with the line it is about.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use ringfence_refusal::{Code, Refusal};

/// How many problems are shown; a file with more is not a slip of the pen.
const SHOWN_MAX: usize = 20;

/// One thing that is wrong.
#[derive(Debug)]
struct Problem {
    refusal: Refusal,
    at: usize,
    excerpt: String,
}

/// Everything that is wrong with one file, in the order of its lines. Never empty.
#[derive(Debug)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// The codes of all problems, in order.
    #[cfg(test)]
    pub(crate) fn codes(&self) -> impl Iterator<Item = &'static Code> {
        self.0.iter().map(|problem| problem.refusal.code())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().take(SHOWN_MAX).enumerate() {
            if index > 0 {
                writeln!(formatter)?;
            }
            write!(formatter, "{}{}", problem.refusal, problem.excerpt)?;
            write!(formatter, "\n  next: {}", problem.refusal.remedy())?;
        }
        if self.0.len() > SHOWN_MAX {
            write!(formatter, "\n... and {} more", self.0.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The text of a configuration file, and what has been found wrong with it so far.
pub(super) struct Page<'t> {
    path: &'t str,
    text: &'t str,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Page<'t> {
    pub(super) fn new(path: &'t str, text: &'t str) -> Self {
        Self { path, text, found: RefCell::new(Vec::new()) }
    }

    /// Notes that what stands at `span` is wrong.
    pub(super) fn report(&self, span: Range<usize>, code: &'static Code, detail: String) {
        let line_start = self.text[..self.boundary(span.start)].rfind('\n').map_or(0, |at| at + 1);
        let line_number = self.text[..line_start].matches('\n').count() + 1;
        let line = self.text[line_start..].lines().next().unwrap_or("");
        let before = &self.text[line_start..self.boundary(span.start)];
        let column = before.chars().count() + 1;
        let marked = self.text[self.boundary(span.start)..self.boundary(span.end)]
            .lines()
            .next()
            .unwrap_or("")
            .chars()
            .count()
            .max(1);
        let number = line_number.to_string();
        let margin = " ".repeat(number.len());
        // A tab before the mark stays a tab, so that both lines bend alike.
        let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let line = crate::talk::printable(line);
        let marks = "^".repeat(marked);
        let excerpt = format!("\n  {number} | {}\n  {margin} | {indent}{marks}", line.trim_end());
        let place = format!("{}:{line_number}:{column}", self.path);
        let refusal = Refusal::new(code, detail).within(place);
        self.found.borrow_mut().push(Problem { refusal, at: span.start, excerpt });
    }

    /// `value`, unless something was found wrong.
    pub(super) fn finish<T>(&self, value: T) -> Result<T, Problems> {
        let mut found = self.found.take();
        if found.is_empty() {
            return Ok(value);
        }
        found.sort_by_key(|problem| problem.at);
        Err(Problems(found))
    }

    /// The nearest place at or before `at` where the text can be cut.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0)
    }
}
