//! QEMU's option lists: `q35,accel=kvm,max-ram-below-4g=2016M`, where a doubled comma is one in a value,
//! and the same as JSON.

use std::collections::BTreeMap;

/// Keys and values; what has no key is under the first's.
#[derive(Debug, Default)]
pub(super) struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads a list whose first value may stand without its key, which is `first`. Of a key given twice
    /// the last counts, as it does for QEMU.
    pub(super) fn read(text: &str, first: &str) -> Self {
        if text.starts_with('{') {
            return Self::json(text);
        }
        let mut all = BTreeMap::new();
        for (place, piece) in split(text).into_iter().enumerate() {
            let (key, value) = match piece.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None if place == 0 => (first.to_owned(), piece),
                None => (piece, "on".to_owned()),
            };
            all.insert(key, value);
        }
        Self(all)
    }

    fn json(text: &str) -> Self {
        let values: Option<serde_json::Map<String, serde_json::Value>> =
            serde_json::from_str(text).ok();
        let as_text = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        let values = values.unwrap_or_default();
        Self(values.into_iter().map(|(key, value)| (key, as_text(value))).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

fn split(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != ',' {
            pieces.last_mut().expect("one is there").push(letter);
        } else if letters.next_if_eq(&',').is_some() {
            pieces.last_mut().expect("one is there").push(',');
        } else {
            pieces.push(String::new());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::Options;

    #[test]
    fn options_are_read_as_qemu_reads_them() {
        let options = Options::read("q35,accel=kvm,usb,file=a,,b,accel=tcg", "type");
        for (key, value) in [("type", "q35"), ("accel", "tcg"), ("usb", "on"), ("file", "a,b")] {
            assert_eq!(options.get(key), Some(value), "{key}");
        }
        let json = Options::read(r#"{"driver":"vfio-pci","host":"0000:01:00.0","x":3}"#, "driver");
        assert_eq!(json.get("driver"), Some("vfio-pci"));
        assert_eq!(json.get("x"), Some("3"));
        assert_eq!(Options::read("{garbage", "driver").get("driver"), None);
    }
}
