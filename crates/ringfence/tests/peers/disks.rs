//! One guest, several fenced disks at once: raw, qcow2, read-only, and one with two queues. What the
//! guest reads and writes is compared with what the host has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Backend, Console, LabRoot, Scratch};

use crate::fenced::{Fenced, random_image, sha256};

const MIB: u64 = 1 << 20;
const DISK_BYTES: u64 = 16 * MIB;

/// What the guest does, the same under QEMU and User-Mode Linux. Disks come in the order of
/// [`Devices`]; `big` is how much it copies.
pub(crate) const SCRIPT: &str = r#"
sum() { dd if=/dev/$1 bs=256k iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1; }
for disk in vda vdb vdc vdd; do
    echo "@@ before-$disk=$(sum $disk)"
    echo "@@ read-only-$disk=$(cat /sys/block/$disk/ro)"
    echo "@@ discard-$disk=$(cat /sys/block/$disk/queue/discard_max_bytes)"
    echo "@@ zeroes-$disk=$(cat /sys/block/$disk/queue/write_zeroes_max_bytes)"
done
head -c 4194304 /dev/urandom > /tmp/data
echo "@@ data=$(sha256sum < /tmp/data | cut -d' ' -f1)"
for disk in vda vdb vdd; do
    dd if=/tmp/data of=/dev/$disk bs=128k seek=64 conv=fsync 2>/dev/null || exit 1
done
if dd if=/tmp/data of=/dev/vdc bs=128k count=1 conv=fsync 2>/dev/null; then exit 2; fi
# Discard the second MiB, write zeroes over the third, by the block layer's own requests.
for disk in vda vdb; do
    blkdiscard -o 1048576 -l 1048576 /dev/$disk || exit 3
    guest write-zeroes /dev/$disk 2097152 1048576 || exit 4
done
# Two writers at once, so that both queues have work.
for part in 0 1; do
    ( for round in 1 2 3 4; do dd if=/tmp/data of=/dev/vdd bs=64k count=32 seek=$((part * 64)) oflag=direct 2>/dev/null; done ) &
done
wait
sync
echo 3 > /proc/sys/vm/drop_caches
for disk in vda vdb vdc vdd; do
    echo "@@ after-$disk=$(sum $disk)"
    echo "@@ zeroed-$disk=$(dd if=/dev/$disk bs=1M skip=2 count=1 iflag=direct 2>/dev/null | tr -d '\000' | wc -c)"
done
"#;

/// What a guest with random numbers does as well.
pub(crate) const RANDOM_SCRIPT: &str = r#"
dd if=/dev/hwrng of=/tmp/random bs=64 count=16 2>/dev/null
echo "@@ random=$(wc -c < /tmp/random)"
echo "@@ kinds=$(hexdump -v -e '1/1 "%02x\n"' /tmp/random | sort -u | wc -l)"
"#;

/// The fenced devices of one guest, in the order the guest finds them.
pub(crate) struct Devices {
    pub(crate) raw: Fenced,
    pub(crate) qcow2: Fenced,
    pub(crate) read_only: Fenced,
    pub(crate) two_queues: Fenced,
    images: Vec<(PathBuf, &'static str, String)>,
    _scratch: Scratch,
}

impl Devices {
    pub(crate) fn new(lab: &LabRoot) -> Result<Self> {
        let scratch = Scratch::new()?;
        let raw = random_image(scratch.path(), "raw.img", DISK_BYTES)?;
        let source = random_image(scratch.path(), "source.img", DISK_BYTES)?;
        let qcow2 = scratch.join("disk.qcow2");
        convert(lab, &source.0, "raw", &qcow2, "qcow2")?;
        let read_only = random_image(scratch.path(), "read-only.img", DISK_BYTES)?;
        let two = random_image(scratch.path(), "two.img", DISK_BYTES)?;
        let file = |image: &Path, options: &str| {
            format!("driver=file,node-name=disk,filename={}{options}", image.display())
        };
        let raw_backend =
            Backend::qemu_storage_daemon(lab, &[&file(&raw.0, ",discard=unmap")], "writable=on")?;
        let qcow2_backend = Backend::qemu_storage_daemon(
            lab,
            &[
                &format!("driver=file,node-name=file,filename={},discard=unmap", qcow2.display()),
                "driver=qcow2,node-name=disk,file=file,discard=unmap",
            ],
            "writable=on",
        )?;
        let read_only_backend =
            Backend::qemu_storage_daemon(lab, &[&file(&read_only.0, ",read-only=on")], "")?;
        let two_backend =
            Backend::qemu_storage_daemon(lab, &[&file(&two.0, "")], "writable=on,num-queues=2")?;
        let devices = Self {
            // A window smaller than what the guest keeps in flight, so that requests wait for it.
            raw: Fenced::new(raw_backend, "4M").context("raw disk")?,
            qcow2: Fenced::new(qcow2_backend, "16M").context("qcow2 disk")?,
            read_only: Fenced::new(read_only_backend, "16M").context("read-only disk")?,
            two_queues: Fenced::new(two_backend, "16M").context("disk with two queues")?,
            images: vec![
                (raw.0, "raw", raw.1),
                (qcow2, "qcow2", source.1),
                (read_only.0, "raw", read_only.1),
                (two.0, "raw", two.1),
            ],
            _scratch: scratch,
        };
        Ok(devices)
    }

    fn all(&self) -> [(&'static str, &Fenced); 4] {
        [
            ("raw disk", &self.raw),
            ("qcow2 disk", &self.qcow2),
            ("read-only disk", &self.read_only),
            ("disk with two queues", &self.two_queues),
        ]
    }

    /// What the guest runs needs this program of ours.
    pub(crate) fn guest_program() -> Result<PathBuf> {
        ringfence_lab::binary("ringfence-guest", "guest")
    }

    /// Compares what the guest saw and did with what the host has, and looks at the fences.
    pub(crate) fn check(self, lab: &LabRoot, console: &Console) -> Result<()> {
        let value = |key: &str| {
            console
                .value(key)
                .map(ToOwned::to_owned)
                .with_context(|| format!("no {key}\n{console}"))
        };
        for (disk, (_, _, sum)) in ["vda", "vdb", "vdc", "vdd"].iter().zip(&self.images) {
            ensure!(value(&format!("before-{disk}"))? == *sum, "{disk} read wrong\n{console}");
        }
        ensure!(value("read-only-vdc")? == "1", "vdc is not read-only\n{console}");
        ensure!(value("read-only-vda")? == "0", "vda is read-only\n{console}");
        ensure!(value("after-vdc")? == self.images[2].2, "vdc changed\n{console}");
        for disk in ["vda", "vdb"] {
            ensure!(value(&format!("discard-{disk}"))? != "0", "{disk}: no discard\n{console}");
            ensure!(value(&format!("zeroes-{disk}"))? != "0", "{disk}: no zeroes\n{console}");
            ensure!(value(&format!("zeroed-{disk}"))? == "0", "{disk} has no zeroes\n{console}");
        }
        for (what, fenced) in self.all() {
            fenced.fence.expect_clean(what)?;
        }
        let images = self.images.clone();
        let Self { raw, qcow2, read_only, two_queues, _scratch: scratch, .. } = self;
        for fenced in [raw, qcow2, read_only, two_queues] {
            fenced.stop()?;
        }
        // What the guest wrote and flushed is what the host's files hold, now that all is closed.
        for (disk, (image, format, _)) in ["vda", "vdb", "vdc", "vdd"].iter().zip(&images) {
            let plain = scratch.join("plain.img");
            convert(lab, image, format, &plain, "raw")?;
            let after = value(&format!("after-{disk}"))?;
            ensure!(sha256(&plain)? == after, "{disk}: the host has other bytes\n{console}");
            if ["vda", "vdb", "vdd"].contains(disk) {
                let bytes = std::fs::read(&plain)?;
                std::fs::write(scratch.join("data"), &bytes[8 << 20..12 << 20])?;
                let data = sha256(&scratch.join("data"))?;
                ensure!(data == value("data")?, "{disk}: what was written is not there\n{console}");
            }
        }
        Ok(())
    }
}

fn convert(lab: &LabRoot, from: &Path, from_format: &str, to: &Path, format: &str) -> Result<()> {
    let output = Command::new(lab.program("qemu-img")?)
        .args(["convert", "-f", from_format, "-O", format])
        .args([from, to])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "qemu-img cannot convert {}: {said}", from.display());
    Ok(())
}
