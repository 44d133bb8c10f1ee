//! The published schemas, and that what the program prints is what they say.
//!
//! A small part of JSON Schema is enough for our shapes: `type`, `const`, `enum`, `required`,
//! `properties`, `items`, `anyOf`, and `$ref` to another published file. Anything else in a schema is an
//! error here, so that none of it is silently ignored.

use std::path::Path;

use serde_json::Value;

use crate::program::{Scratch, outcome};

fn published(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let path = folder.join(format!("{name}.schema.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Checks that `text` is JSON of the shape published as `name`.
#[track_caller]
pub(crate) fn check(name: &str, text: &str) {
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    if let Err(problem) = conforms(&value, &published(name), name) {
        panic!("{problem} in {text}");
    }
}

fn conforms(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let rules = schema.as_object().ok_or(format!("{at}: the schema is no object"))?;
    for (rule, wanted) in rules {
        match rule.as_str() {
            "title" | "description" => {}
            "$ref" => {
                let name = wanted.as_str().and_then(|file| file.strip_suffix(".schema.json"));
                conforms(value, &published(name.ok_or("a $ref to no file of ours")?), at)?;
            }
            "anyOf" => {
                let results = wanted.as_array().into_iter().flatten();
                let results: Vec<_> = results.map(|one| conforms(value, one, at)).collect();
                if results.iter().all(Result::is_err) {
                    return Err(format!("{at}: it is none of these: {results:?}"));
                }
            }
            "type" => check_type(value, wanted, at)?,
            "const" if value == wanted => {}
            "const" => return Err(format!("{at}: {value} is not {wanted}")),
            "enum" if wanted.as_array().is_some_and(|all| all.contains(value)) => {}
            "enum" => return Err(format!("{at}: {value} is none of {wanted}")),
            "required" => {
                for key in wanted.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if value.get(key).is_none() {
                        return Err(format!("{at}: {key} is missing"));
                    }
                }
            }
            "properties" => check_properties(value, wanted, at)?,
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    conforms(item, wanted, &format!("{at}[{index}]"))?;
                }
            }
            other => return Err(format!("{at}: the rule {other} is not checked")),
        }
    }
    Ok(())
}

/// Every field there is has to be published, too.
fn check_properties(value: &Value, properties: &Value, at: &str) -> Result<(), String> {
    for (key, field) in value.as_object().into_iter().flatten() {
        let schema = properties.get(key).ok_or(format!("{at}: {key} is not published"))?;
        if schema.get("description").is_none() {
            return Err(format!("{at}: {key} is published without a description"));
        }
        conforms(field, schema, &format!("{at}.{key}"))?;
    }
    Ok(())
}

fn check_type(value: &Value, wanted: &Value, at: &str) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    let matches = match wanted.as_array() {
        Some(any) => any.iter().any(is),
        None => is(wanted),
    };
    if matches { Ok(()) } else { Err(format!("{at}: {value} is not of type {wanted}")) }
}

#[test]
fn the_check_can_fail() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": ["integer", "null"], "description": "A." } }
    });
    for (value, fine) in [
        (serde_json::json!({ "a": 1 }), true),
        (serde_json::json!({ "a": null }), true),
        (serde_json::json!({ "a": "1" }), false),
        (serde_json::json!({}), false),
        (serde_json::json!({ "a": 1, "b": 2 }), false),
        (serde_json::json!([]), false),
    ] {
        assert_eq!(conforms(&value, &schema, "it").is_ok(), fine, "{value}");
    }
}

#[test]
fn one_of_several_shapes_is_enough_and_none_is_not() {
    let schema = serde_json::json!({
        "anyOf": [{ "type": "null" }, { "$ref": "fence.schema.json" }]
    });
    for (value, fine) in [
        (serde_json::json!(null), true),
        (serde_json::json!({ "schema": "ringfence.fence/1" }), false),
        (serde_json::json!(1), false),
    ] {
        assert_eq!(conforms(&value, &schema, "it").is_ok(), fine, "{value}");
    }
}

#[test]
fn explain_prints_what_is_published() {
    let scratch = Scratch::new("schema");
    check("explain", &outcome(&mut scratch.ringfence(&["explain", "--json"])).stdout);
}
