//! Writing a cpio archive in the format Linux unpacks at boot ("newc").

/// An archive in the making.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

impl Archive {
    /// A folder; its parents must have been added before.
    pub(crate) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER | 0o755, &[]);
    }

    /// A file with its permissions.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, REGULAR | (permissions & 0o7777), content);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, LINK | 0o777, target.as_bytes());
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let path = path.trim_start_matches('/');
        let size = u32::try_from(content.len()).expect("a file for a guest is below 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("a path is short");
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        self.bytes.extend(b"070701");
        // inode, mode, uid, gid, links, time, size, 2 × device, 2 × special device, name, checksum
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_names_and_contents_are_aligned_and_sized() {
        let mut archive = Archive::default();
        archive.folder("/etc");
        archive.file("/etc/x", 0o600, b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(&text[..14], "07070100000001");
        let second = text.rfind("etc/x").expect("the file's name") - 110;
        assert_eq!(second % 4, 0);
        assert_eq!(&text[second + 14..second + 22], "00008180");
        assert_eq!(&text[second + 54..second + 62], "00000005");
        // 110 bytes of header and 6 of name are a multiple of four already.
        assert_eq!(&text[second + 116..second + 124], "hello\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
    }
}
