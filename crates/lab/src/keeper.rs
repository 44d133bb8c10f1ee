//! Ending a whole process group when this process ends, even by a signal it cannot catch.
//!
//! A child asks the kernel to be killed with its parent, but its own children do not: User-Mode
//! Linux leaves two helpers that wait for ever and hold the guest's memory. So a shell waits beside
//! it for the other end of a pipe to close, which the kernel does however we end.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Watches over a process group until dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
}

impl Keeper {
    /// Watches the group `leader` leads.
    pub(crate) fn watch(leader: i32) -> io::Result<Self> {
        // `read` returns when the pipe closes: nothing is ever written to it.
        let script = format!("read -r nothing; kill -s KILL -- -{leader} 2>/dev/null");
        let shell = Command::new("/bin/sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What is sent to our group, such as Ctrl-C, must not end the watch before us.
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The group has been ended by then; its number may pass to others, so the watch ends first.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
