# What the quickstart's guest does, in busybox's shell, once Linux is up and its modules are loaded.
#
# It writes random data to its disk, makes sure that nothing of it is left in its own memory, reads
# it back and compares. Lines that begin with `@@` are for programs; the others are for you.

say() { echo "guest: $*"; }
fail() {
    say "FAILED: $*"
    echo '@@ quickstart=failed'
    exit 1
}
sum() { sha256sum "$1" | cut -d' ' -f1; }

say "Linux $(uname -r) is up, with $(($(sed -n 's/MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024)) MiB of memory"

waited=0
while [ ! -b /dev/vda ]; do
    [ "$waited" -lt 50 ] || fail 'there is no disk /dev/vda'
    waited=$((waited + 1))
    usleep 100000
done
say "its disk is /dev/vda, $(($(cat /sys/block/vda/size) / 2048)) MiB, served by a process that is not QEMU"

mount -t ext4 /dev/vda /mnt || fail 'cannot mount /dev/vda as ext4'
dd if=/dev/urandom of=/tmp/data bs=64k count=256 2>/dev/null || fail 'cannot make random data'
written=$(sum /tmp/data)
echo "@@ written=$written"
cp /tmp/data /mnt/data || fail 'cannot write to the disk'
sync
umount /mnt || fail 'cannot unmount the disk'
say "wrote 16 MiB of random data, synced and unmounted (sha256 $(echo "$written" | cut -c1-16)...)"

rm /tmp/data
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/vda /mnt || fail 'cannot mount the disk a second time'
read_back=$(sum /mnt/data)
echo "@@ read=$read_back"
umount /mnt
say "dropped every cache, read it back    (sha256 $(echo "$read_back" | cut -c1-16)...)"

[ "$written" = "$read_back" ] || fail 'what came back is not what was written'
say 'the disk gave back exactly what it was given'
echo '@@ quickstart=verified'
