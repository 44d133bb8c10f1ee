//! A Rust file with its comments and strings blanked out, and its tests marked.
//!
//! Not a parser: enough of the lexical rules to tell code from words about code. Blanking keeps
//! every line and column where it was.

use std::ops::Range;

/// A Rust file as the checks see it.
pub(super) struct Source {
    text: String,
    /// The text with comments and what is inside quotes blanked out.
    code: String,
    /// Byte ranges of the lines.
    lines: Vec<Range<usize>>,
    /// Whether each line is part of a test.
    tests: Vec<bool>,
}

/// A line of a [`Source`].
pub(super) struct Line<'a> {
    /// Counted from one.
    pub(super) number: usize,
    /// The line without comments and strings.
    pub(super) code: &'a str,
    /// The line as it stands.
    pub(super) text: &'a str,
    /// Whether it is part of a test.
    pub(super) is_test: bool,
}

impl Source {
    /// Reads the file at `path`, whose name can make it a test as a whole.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let mut start = 0;
        let lines: Vec<Range<usize>> = text
            .split_inclusive('\n')
            .map(|line| {
                let range = start..start + line.trim_end_matches('\n').len();
                start += line.len();
                range
            })
            .collect();
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
        let regions = test_regions(&code);
        let in_test =
            |line: &Range<usize>| regions.iter().any(|test| overlaps(test, line)) || is_test;
        let tests = lines.iter().map(in_test).collect();
        Self { text: text.to_string(), code, lines, tests }
    }

    /// The text as it stands.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text with comments and what is inside quotes blanked out, byte for byte as long.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The lines, in order.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().zip(&self.tests).enumerate().map(|(index, (range, is_test))| Line {
            number: index + 1,
            code: &self.code[range.clone()],
            text: &self.text[range.clone()],
            is_test: *is_test,
        })
    }

    /// The number of the line that the byte at `offset` is on.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|line| line.end < offset) + 1
    }
}

fn overlaps(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start <= other.end && other.start < one.end
}

/// Whether `code` has `word` standing alone, not as part of a longer name.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    words(code).any(|found| found == word)
}

/// The names, keywords and numbers in `code`.
pub(super) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !is_name(letter)).filter(|word| !word.is_empty())
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The bytes from the bracket at `open` to the one that closes it, both included.
pub(super) fn bracketed(code: &str, open: usize) -> Option<Range<usize>> {
    let bytes = code.as_bytes();
    let opening = *bytes.get(open)?;
    let closing = match opening {
        b'{' => b'}',
        b'(' => b')',
        _ => b']',
    };
    let mut depth = 0_usize;
    for (index, byte) in bytes.iter().enumerate().skip(open) {
        if *byte == opening {
            depth += 1;
        } else if *byte == closing {
            depth -= 1;
            if depth == 0 {
                return Some(open..index + 1);
            }
        }
    }
    None
}

/// The items under `#[cfg(test)]`.
fn test_regions(code: &str) -> Vec<Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let starts = code.match_indices(MARK).map(|(start, _)| start);
    starts
        .map(|start| {
            let after = start + MARK.len();
            let body = code[after..].find(['{', ';']).map(|index| after + index);
            let end = body.and_then(|body| match code.as_bytes()[body] {
                b'{' => bracketed(code, body).map(|range| range.end),
                _ => Some(body + 1),
            });
            start..end.unwrap_or(code.len())
        })
        .collect()
}

/// `text` with comments and what is inside quotes replaced by spaces.
fn blank(text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let before = text[..at].chars().next_back();
        let (length, hidden) = token(rest, before).unwrap_or((first.len_utf8(), 0..0));
        for byte in &mut code[at + hidden.start..at + hidden.end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        rest = &rest[length..];
    }
    String::from_utf8(code).expect("whole letters were replaced")
}

/// If a comment or literal starts here: how long it is, and which part of it is not code.
fn token(rest: &str, before: Option<char>) -> Option<(usize, Range<usize>)> {
    if rest.starts_with("//") {
        let length = rest.find('\n').unwrap_or(rest.len());
        return Some((length, 0..length));
    }
    if rest.starts_with("/*") {
        let length = block_comment(rest);
        return Some((length, 0..length));
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    if let Some(letter) = rest.strip_prefix('\'') {
        // A lifetime has no closing quote right after its first letter.
        let mut letters = letter.chars();
        let is_literal = letters.next() == Some('\\') || letters.next() == Some('\'');
        return Some(if is_literal { quoted(rest, '\'') } else { (1, 0..0) });
    }
    if !before.is_some_and(is_name) {
        return raw_string(rest);
    }
    None
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The literal that starts with `quote`, escapes considered.
fn quoted(rest: &str, quote: char) -> (usize, Range<usize>) {
    let mut escaped = false;
    for (index, letter) in rest.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return (index + 1, 1..index),
            _ => {}
        }
    }
    (rest.len(), 1..rest.len())
}

/// `r"…"`, `r#"…"#`, and the same for bytes and C strings.
fn raw_string(rest: &str) -> Option<(usize, Range<usize>)> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['"', '#']))
    })?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let start = prefix.len() + hashes + 1;
    let length = inside.find(&closing).unwrap_or(inside.len());
    Some(((start + length + closing.len()).min(rest.len()), start..start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_blanked_where_they_stand() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ \n d */ e", "a              \n      e"),
            (r#"f("a\"b", c)"#, r#"f("    ", c)"#),
            ("r#\"a\"b\"# c", "r#\"   \"# c"),
            ("br\"a\\\" c", "br\"  \" c"),
            ("('\"', '\\'', 'x', b'{')", "(' ', '  ', ' ', b' ')"),
            ("fn f<'a>(b: &'a str) {}", "fn f<'a>(b: &'a str) {}"),
            ("'outer: loop { break 'outer }", "'outer: loop { break 'outer }"),
            ("r#type for\"x\"", "r#type for\" \""),
            ("\"é\" //é", "\"  \"     "),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
        for open in ["\"é", "'\\", "r#\"é", "/* /* é */", "#[cfg(test)]", "#[cfg(test)] {"] {
            assert_eq!(Source::new("a.rs", open).code().len(), open.len(), "{open}");
        }
    }

    #[test]
    fn test_modules_and_test_files_are_tests() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { \"}\" }\n}\nfn c() {}\n";
        let tests = |path: &str| -> Vec<bool> {
            Source::new(path, text).lines().map(|line| line.is_test).collect()
        };
        assert_eq!(tests("crates/a/src/lib.rs"), [false, true, true, true, true, false]);
        assert_eq!(tests("crates/a/src/x/tests.rs"), [true; 6]);
        assert_eq!(tests("crates/a/tests/x.rs"), [true; 6]);
        let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n";
        let source = Source::new("src/lib.rs", text);
        assert!(source.lines().map(|line| line.is_test).eq([true, true, false]));
    }

    #[test]
    fn words_stand_alone() {
        assert!(has_word("a(EMPTY)", "EMPTY"));
        assert!(!has_word("NOT_EMPTY, EMPTYING", "EMPTY"));
    }

    #[test]
    fn brackets_close_where_they_should() {
        assert_eq!(bracketed("a {b {c} d} e", 2), Some(2..11));
        assert_eq!(bracketed("a {b", 2), None);
    }

    #[test]
    fn lines_are_found_by_offset() {
        let source = Source::new("a.rs", "ab\ncd\n\nef");
        let lines: Vec<usize> = (0..9).map(|offset| source.line_of(offset)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 2, 2, 3, 4, 4]);
    }
}
