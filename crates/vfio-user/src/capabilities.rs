//! How a version is agreed on: what the client proposes, and what it is told.
//!
//! QEMU's `docs/interop/vfio-user.rst`, `VFIO_USER_VERSION`.

use ringfence_refusal::Refusal;
use serde::{Deserialize, Serialize};
use zerocopy::FromBytes;

use crate::refusals::NO_COMMON_VERSION;
use crate::wire::{DESCRIPTORS_MAX, MAPPINGS_MAX, PAGE, TRANSFER_BYTES_MAX, Version};

/// What a client says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) minor: u16,
    /// The most bytes it takes in one message.
    pub(crate) transfer_bytes_max: u32,
    /// Whether it would send several writes in one message.
    pub(crate) writes_many: bool,
}

/// Members that are not known are passed over, as the protocol grows by them.
#[derive(Deserialize, Default)]
struct Text {
    #[serde(default)]
    capabilities: Capabilities,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    max_data_xfer_size: Option<u64>,
    #[serde(default)]
    write_multiple: bool,
}

#[derive(Serialize)]
struct Answer {
    capabilities: Ours,
}

#[derive(Serialize)]
struct Ours {
    max_msg_fds: usize,
    max_data_xfer_size: u32,
    max_dma_maps: usize,
    pgsizes: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    write_multiple: bool,
}

impl Proposal {
    /// Reads the body of the first message.
    ///
    /// # Errors
    ///
    /// `RF1004`.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let refuse = |detail: String| Refusal::new(&NO_COMMON_VERSION, detail);
        let (version, text) = Version::read_from_prefix(body)
            .map_err(|_| refuse(format!("{} bytes name no version", body.len())))?;
        if version.major != 0 {
            return Err(refuse(format!("version {}.{}", version.major, version.minor)));
        }
        let text: Text = match text {
            [] => Text::default(),
            [json @ .., 0] => serde_json::from_slice(json)
                .map_err(|error| refuse(format!("capabilities: {error}")))?,
            _ => return Err(refuse("capabilities without an end".to_owned())),
        };
        let most = text.capabilities.max_data_xfer_size.unwrap_or(TRANSFER_BYTES_MAX.into());
        let most = u32::try_from(most).unwrap_or(u32::MAX).min(TRANSFER_BYTES_MAX);
        if most == 0 {
            return Err(refuse("no bytes in a message".to_owned()));
        }
        Ok(Self {
            minor: version.minor,
            transfer_bytes_max: most,
            writes_many: text.capabilities.write_multiple,
        })
    }

    /// The version that is spoken, and the text that follows it.
    pub(crate) fn answer(self) -> (Version, Vec<u8>) {
        let capabilities = Ours {
            max_msg_fds: DESCRIPTORS_MAX,
            max_data_xfer_size: TRANSFER_BYTES_MAX,
            max_dma_maps: MAPPINGS_MAX,
            pgsizes: PAGE,
            write_multiple: self.writes_many,
        };
        let json = serde_json::to_vec(&Answer { capabilities }).unwrap_or_default();
        (Version { major: 0, minor: 0 }, [json, vec![0]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(major: u16, text: &str) -> Result<Proposal, Refusal> {
        Proposal::parse(&[&major.to_ne_bytes(), &7u16.to_ne_bytes(), text.as_bytes()].concat())
    }

    #[test]
    fn what_qemu_says_is_understood() {
        let qemu = "{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \
                    \"max_msg_fds\": 16, \"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, \
                    \"max_dma_maps\": 65535, \"write_multiple\": true}}\0";
        let proposal = parse(0, qemu).expect("a proposal");
        let expected = Proposal { minor: 7, transfer_bytes_max: 1 << 20, writes_many: true };
        assert_eq!(proposal, expected);
        let (version, text) = proposal.answer();
        assert_eq!((version.major, version.minor), (0, 0));
        let expected = "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,\
                        \"max_dma_maps\":65535,\"pgsizes\":4096,\"write_multiple\":true}}\0";
        assert_eq!(String::from_utf8_lossy(&text), expected);
    }

    #[test]
    fn a_client_that_says_nothing_of_itself_can_do_the_least() {
        let proposal = parse(0, "").expect("a proposal");
        assert!(!proposal.writes_many);
        assert!(!String::from_utf8_lossy(&proposal.answer().1).contains("write_multiple"));
        let huge = parse(0, "{\"capabilities\":{\"max_data_xfer_size\":18446744073709551615}}\0");
        assert_eq!(huge.expect("a proposal").transfer_bytes_max, TRANSFER_BYTES_MAX);
    }

    #[test]
    fn what_cannot_be_agreed_on_is_refused() {
        let deep = "[".repeat(4000) + "\0";
        let texts = [
            "{}",
            "\0",
            "{\0",
            "7\0",
            "{\"capabilities\":1}\0",
            deep.as_str(),
            "{\"capabilities\":{\"max_data_xfer_size\":0}}\0",
            "{\"capabilities\":{\"max_data_xfer_size\":-1}}\0",
            "{\"capabilities\":{\"write_multiple\":\"yes\"}}\0",
            "{\"a\":\"\0\"}\0",
        ];
        for text in texts {
            let refusal = parse(0, text).expect_err(text);
            assert_eq!(refusal.code(), &NO_COMMON_VERSION, "{text}");
        }
        assert!(parse(1, "").is_err());
        assert!(Proposal::parse(&[0, 0, 0]).is_err());
    }
}
