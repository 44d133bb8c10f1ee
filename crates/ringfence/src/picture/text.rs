//! Text that fits, as far as that can be known without the font.

use std::fmt::Write;

/// A line of text with its place and the room it has.
pub(super) struct Text {
    pub(super) class: &'static str,
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
}

/// Tenths of a pixel a character takes at the most common size, generously.
const CHARACTER: usize = 62;

impl Text {
    /// Writes what fits of `text`.
    pub(super) fn write(&self, svg: &mut String, text: &str) {
        self.element(svg, text, "");
    }

    /// The same with all of it shown where the pointer rests.
    pub(super) fn write_with_title(&self, svg: &mut String, text: &str, whole: &str) {
        self.element(svg, text, &format!("<title>{}</title>", escape(whole)));
    }

    fn element(&self, svg: &mut String, text: &str, inside: &str) {
        let Self { class, x, y, width } = self;
        let text = escape(&crate::isolation::cut(text, letters(*width)));
        let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}{inside}</text>");
    }
}

/// Characters that fit.
pub(super) fn letters(width: usize) -> usize {
    width * 10 / CHARACTER
}

/// `text` in at most `count` lines of `width` pixels; the last one is cut if it is too long.
pub(super) fn wrap(text: &str, width: usize, count: usize) -> Vec<String> {
    let most = letters(width);
    let mut lines: Vec<String> = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && lines.len() < count {
        let is_last = lines.len() + 1 == count;
        if is_last || rest.chars().count() <= most {
            lines.push(crate::isolation::cut(rest, most));
            break;
        }
        let end = rest.char_indices().nth(most).map_or(rest.len(), |(end, _)| end);
        let end = rest[..end].rfind(' ').unwrap_or(end);
        lines.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    lines
}

/// Text as XML takes it; characters that XML has no place for are left out.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            character if character.is_control() => {}
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_the_last_is_cut() {
        assert_eq!(wrap("one two three four", 62, 3), ["one two", "three four"]);
        assert_eq!(wrap("one two three four", 62, 1), ["one two t…"]);
        assert_eq!(wrap("üüüüüüüüüüüüüüü", 62, 2), ["üüüüüüüüüü", "üüüüü"]);
        assert!(wrap("", 62, 2).is_empty());
        assert!(wrap("text", 62, 0).is_empty());
    }

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(escape("<a b=\"c\">&\u{7}\u{ffff}"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
