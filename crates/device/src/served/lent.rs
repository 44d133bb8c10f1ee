//! Whether what was lent has come back.

use std::fs::File;

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;

use crate::hold::{Held, Hold};
use crate::refusals::STILL_LENT;
use crate::vfio_sys;

impl Hold {
    /// Makes sure that nobody has a function of the claim open any more, or a part of one mapped: only then
    /// does it go to somebody else. Nothing of ours may have one open either, and what was mapped for the
    /// group is gone afterwards.
    ///
    /// The kernel lets a group out of its container only then, so it is asked to, and the group is put
    /// back. Functions held through iommufd are not asked about.
    ///
    /// # Errors
    ///
    /// `RF0729` while somebody has; a fault when the kernel says something else.
    pub fn take_back(&self) -> Result<(), Failure> {
        for held in self.held() {
            if let Held::Group { group, file, container } = held {
                out_and_in(*group, file, container)?;
            }
        }
        Ok(())
    }
}

fn out_and_in(group: u32, file: &File, container: &File) -> Result<(), Failure> {
    let name = format!("group {group}");
    taken_out(&name, vfio_sys::unset_container(file))?;
    vfio_sys::set_container(file, container)
        .map_err(|errno| Fault::new("put back into its container", name, errno).into())
}

fn taken_out(group: &str, answer: Result<(), Errno>) -> Result<(), Failure> {
    match answer {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(Refusal::new(&STILL_LENT, group.to_owned()).into()),
        Err(errno) => Err(Fault::new("take out of its container", group, errno).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_answer_of_the_kernels_means_that_somebody_has_it() {
        let told = |answer| taken_out("group 7", answer).map_err(|failure| failure.to_string());
        assert_eq!(told(Ok(())), Ok(()));
        assert_eq!(told(Err(Errno::BUSY)), Err(Refusal::new(&STILL_LENT, "group 7").to_string()));
        let other = "cannot take out of its container group 7".to_owned();
        assert_eq!(told(Err(Errno::NODEV)), Err(other));
    }
}
