//! The folder that keeps the claims of a host, one journal each, and who may work on which.
//!
//! Two locks, both the kernel's and gone with whoever held them. The folder's is held for moments:
//! while claims are compared, and while one comes or goes. A journal's is held for as long as
//! somebody works on that claim, or holds it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::journal::{Journal, Story};
use crate::place::Place;
use crate::refusals;
use crate::root::entries;

const EXTENSION: &str = ".journal";

/// Where claims are kept while a host runs: gone with it, as the claims are.
pub const RUN_FOLDER: &str = "/run/ringfence/claims";

/// The folder of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    folder: PathBuf,
}

/// The right to compare claims, and to make or remove one.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    store: &'a Store,
    _lock: File,
}

/// A claim that is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What names it: the place of its first function, fit for a file.
    pub(crate) name: String,
    /// Its journal, if nobody else works on the claim.
    pub(crate) journal: Option<Journal>,
    /// What its journal says; `None` when nothing was begun.
    pub(crate) story: Option<Story>,
}

impl Store {
    /// The claims kept in `folder`, which is made when it is needed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn lock(&self) -> Result<Locked<'_>, Fault> {
        let fault = |error: io::Error| self.fault("lock", error);
        let mut builder = DirBuilder::new();
        // Whoever can write here decides which drivers are bound at the next recovery.
        builder.recursive(true).mode(0o700).create(&self.folder).map_err(fault)?;
        let path = self.folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(path);
        let lock = lock.map_err(fault)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|errno| fault(errno.into()))?;
        Ok(Locked { store: self, _lock: lock })
    }

    fn fault(&self, operation: &'static str, error: impl Into<io::Error>) -> Fault {
        Fault::new(operation, self.folder.display().to_string(), error)
    }
}

impl Locked<'_> {
    /// All claims there are. A journal that nobody works on is locked in passing, and stays so for
    /// as long as the answer is kept.
    pub(crate) fn all(&self) -> Result<Vec<Kept>, Failure> {
        let mut all = Vec::new();
        for file_name in entries(&self.store.folder)? {
            let Some(name) = file_name.strip_suffix(EXTENSION) else { continue };
            let path = self.store.folder.join(&file_name);
            let fault = |error: io::Error| Fault::new("open", path.display().to_string(), error);
            let file = File::options().read(true).append(true).open(&path).map_err(fault)?;
            let is_free = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => true,
                Err(Errno::WOULDBLOCK) => false,
                Err(errno) => return Err(fault(errno.into()).into()),
            };
            // Reading cuts off a torn end, which in another's hands is a line on its way.
            let (journal, story) = if is_free {
                let (journal, story) = Journal::read(file, &path)?;
                (Some(journal), story)
            } else {
                (None, Journal::peek(&file, &path)?)
            };
            all.push(Kept { name: name.to_string(), journal, story });
        }
        Ok(all)
    }

    /// A new, empty journal for the claim whose first function is at `place`.
    pub(crate) fn make(&self, place: &Place) -> Result<Journal, Failure> {
        let path = self.store.folder.join(format!("{}{EXTENSION}", name_of(place)));
        let file = match File::options().read(true).append(true).create_new(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let what = format!("{} is there already", path.display());
                return Err(Refusal::new(&refusals::CLAIMED, what).into());
            }
            Err(error) => return Err(Fault::new("make", path.display().to_string(), error).into()),
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Fault::new("lock", path.display().to_string(), errno))?;
        self.sync()?;
        Ok(Journal::new(file, path))
    }

    /// Forgets a claim: everything is as it was before it.
    pub(crate) fn remove(&self, journal: &Journal) -> Result<(), Fault> {
        fs::remove_file(journal.path())
            .map_err(|error| Fault::new("remove", journal.path().display().to_string(), error))?;
        self.sync()
    }

    /// What came and went in the folder is on the disk after this.
    fn sync(&self) -> Result<(), Fault> {
        let folder = File::open(&self.store.folder);
        folder.and_then(|folder| folder.sync_all()).map_err(|error| self.store.fault("sync", error))
    }
}

/// A place as the name of a file: `0000:00+01.0+00.0`.
pub(crate) fn name_of(place: &Place) -> String {
    place.as_str().replace('/', "+")
}
