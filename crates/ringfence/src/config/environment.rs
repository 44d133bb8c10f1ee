//! The `environment` of a `[[device]]`: the variables its backend has besides the few all have.

use toml::de::DeValue;

use super::reader::{Table, kind_of};
use crate::refusals;

/// Begins the names that Ringfence's own stages are told things by.
const OUR_PREFIX: &str = "RINGFENCE_";

/// Decodes the variables, each a name and its value.
pub(super) fn decode(table: &Table<'_>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let Some(entries) = table.table("environment") else { return variables };
    if !table.has("backend") {
        let detail = "`environment` is for a `backend`, and there is none".to_owned();
        table.report(&entries.span, &refusals::KEYS_EXCLUDE, detail);
    }
    for (key, value) in entries.value.iter() {
        let name = key.get_ref();
        if !is_name(name) {
            let detail = format!(
                "`{name}` is not the name of a variable: letters, digits and `_`, the first no \
                 digit, and not beginning with {OUR_PREFIX}"
            );
            table.report(&key.span(), &refusals::BAD_VALUE, detail);
            continue;
        }
        match value.get_ref() {
            DeValue::String(text) if !text.contains('\0') => {
                variables.push((name.to_string(), text.to_string()));
            }
            DeValue::String(_) => {
                let detail = format!("the variable `{name}` has a NUL in its value");
                table.report(&value.span(), &refusals::BAD_VALUE, detail);
            }
            other => {
                let detail = format!("the variable `{name}` is a text, not {}", kind_of(other));
                table.report(&value.span(), &refusals::WRONG_TYPE, detail);
            }
        }
    }
    variables
}

fn is_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let begins = name.chars().next().is_some_and(|first| !first.is_ascii_digit());
    plain && begins && !name.starts_with(OUR_PREFIX)
}
