//! A guest that is up in a moment: a boot sector that writes, reads back and compares through its
//! firmware's virtio driver, round after round.
//!
//! It says `@b` when it begins, `@.` after every 16 rounds, and at last `@d` when it has done as many
//! as it was to, `@f` when a request failed, `@w` when it read other bytes than it wrote. Then it
//! resets the machine.

use std::path::Path;

use anyhow::Result;

const SECTOR: usize = 512;

/// Room for the 32 places of 4 KiB it writes to, after one for the sector itself.
const DISK_BYTES: usize = 1 << 20;

/// Where in the sector the number of rounds stands.
const ROUNDS: usize = 0x98;

/// In real mode at 0x7c00. `bx` counts the rounds; `packet` is what the firmware's extended disk calls
/// (interrupt 13h, ah = 42h to read and 43h to write) are given.
#[rustfmt::skip]
const CODE: [u8; ROUNDS] = [
    0x31, 0xc0,             // start:  xor  ax, ax
    0x8e, 0xd8,             //         mov  ds, ax
    0x8e, 0xc0,             //         mov  es, ax
    0x8e, 0xd0,             //         mov  ss, ax
    0xbc, 0x00, 0x7c,       //         mov  sp, 0x7c00
    0xfc,                   //         cld
    0x31, 0xdb,             //         xor  bx, bx
    0xb0, b'b',             //         mov  al, 'b'
    0xe8, 0x55, 0x00,       //         call say
    0x89, 0xd8,             // next:   mov  ax, bx
    0xe8, 0x5d, 0x00,       //         call fill
    0xb8, 0x00, 0x43,       //         mov  ax, 0x4300
    0xe8, 0x60, 0x00,       //         call disk
    0x31, 0xc0,             //         xor  ax, ax
    0xe8, 0x52, 0x00,       //         call fill
    0xb8, 0x00, 0x42,       //         mov  ax, 0x4200
    0xe8, 0x55, 0x00,       //         call disk
    0xbf, 0x00, 0x80,       //         mov  di, buffer
    0xb9, 0x00, 0x08,       //         mov  cx, 2048
    0x89, 0xd8,             //         mov  ax, bx
    0xf3, 0xaf,             //         repe scasw
    0x75, 0x25,             //         jne  wrong
    0x43,                   //         inc  bx
    0x89, 0xd8,             //         mov  ax, bx
    0x83, 0xe0, 0x1f,       //         and  ax, 31
    0x40,                   //         inc  ax
    0xc1, 0xe0, 0x03,       //         shl  ax, 3
    0xa3, 0x90, 0x7c,       //         mov  [sector], ax
    0xf6, 0xc3, 0x0f,       //         test bl, 15
    0x75, 0x05,             //         jnz  quiet
    0xb0, b'.',             //         mov  al, '.'
    0xe8, 0x1c, 0x00,       //         call say
    0x3b, 0x1e, 0x98, 0x7c, // quiet:  cmp  bx, [rounds]
    0x72, 0xc1,             //         jb   next
    0xb0, b'd',             //         mov  al, 'd'
    0xeb, 0x06,             //         jmp  off
    0xb0, b'f',             // failed: mov  al, 'f'
    0xeb, 0x02,             //         jmp  off
    0xb0, b'w',             // wrong:  mov  al, 'w'
    0xe8, 0x09, 0x00,       // off:    call say
    0xba, 0xf9, 0x0c,       //         mov  dx, 0xcf9 (the chipset's reset register)
    0xb0, 0x06,             //         mov  al, 6
    0xee,                   //         out  dx, al
    0xf4,                   // halt:   hlt
    0xeb, 0xfd,             //         jmp  halt
    0x50,                   // say:    push ax
    0xba, 0xf8, 0x03,       //         mov  dx, 0x3f8 (the serial port)
    0xb0, b'@',             //         mov  al, '@'
    0xee,                   //         out  dx, al
    0x58,                   //         pop  ax
    0xee,                   //         out  dx, al
    0xb0, b'\n',            //         mov  al, 10
    0xee,                   //         out  dx, al
    0xc3,                   //         ret
    0xbf, 0x00, 0x80,       // fill:   mov  di, buffer
    0xb9, 0x00, 0x08,       //         mov  cx, 2048
    0xf3, 0xab,             //         rep stosw
    0xc3,                   //         ret
    0xb2, 0x80,             // disk:   mov  dl, 0x80 (the first disk)
    0xbe, 0x88, 0x7c,       //         mov  si, packet
    0xcd, 0x13,             //         int  0x13
    0x72, 0xcf,             //         jc   failed
    0xc3,                   //         ret
    16, 0,                  // packet: its length
    8, 0,                   //         8 sectors
    0x00, 0x80, 0, 0,       //         buffer: 0000:8000
    8, 0, 0, 0, 0, 0, 0, 0, // sector: 8 at first
];

/// Writes a disk whose guest does so many rounds.
pub(super) fn write(disk: &Path, rounds: u16) -> Result<()> {
    let mut bytes = vec![0; DISK_BYTES];
    bytes[..ROUNDS].copy_from_slice(&CODE);
    bytes[ROUNDS..ROUNDS + 2].copy_from_slice(&rounds.to_le_bytes());
    bytes[SECTOR - 2..SECTOR].copy_from_slice(&[0x55, 0xaa]);
    Ok(std::fs::write(disk, bytes)?)
}
