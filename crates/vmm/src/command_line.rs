//! A command written so that a person can paste it into a shell.

use std::ffi::OsStr;

/// `program` and its arguments on one line, quoted for a POSIX shell where needed.
pub fn command_line<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    let mut line = quote(program.as_ref());
    for argument in arguments {
        line.push(' ');
        line.push_str(&quote(argument.as_ref()));
    }
    line
}

/// One word of a shell command. Bytes that are not UTF-8 are shown as U+FFFD.
fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "%+,-./:=@_".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_need_it_are_quoted() {
        assert_eq!(
            command_line("qemu", ["-m", "512M", "-append", "console=ttyS0 quiet", "", "it's"]),
            r"qemu -m 512M -append 'console=ttyS0 quiet' '' 'it'\''s'"
        );
    }
}
