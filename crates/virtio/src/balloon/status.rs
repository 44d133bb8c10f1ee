//! How a balloon stands.

/// A balloon's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalloonStatus {
    /// What the host asked for.
    pub target_bytes: u64,
    /// What the guest says it has put in.
    pub actual_bytes: u64,
    /// What of that nothing maps: its memory is the host's.
    pub given_back_bytes: u64,
    /// What of that waits in blocks that devices have mapped.
    pub waiting_bytes: u64,
    /// Who has them mapped, by name, as many as fit in a line or two.
    pub holders: Vec<String>,
    /// What the files of the guest's memory take of the host's, whoever uses them.
    pub resident_bytes: u64,
    /// Whether the guest says so before it uses a page again.
    pub guest_tells: bool,
    /// What happened so far.
    pub counts: BalloonCounts,
    /// Bytes discarded so far.
    pub discarded_bytes: u64,
    /// How often discarding failed: the guest keeps its bytes, and the host does not get the memory.
    pub discards_failed: u64,
}

/// What happened to pages so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BalloonCounts {
    /// Put in that were in it already.
    pub repeated: u64,
    /// Taken out that were not in it.
    pub strangers: u64,
    /// Reported free, discarded, and the guest's again at once.
    pub passed: u64,
    /// Of such pages, those kept as they are because a device has them mapped.
    pub kept: u64,
    /// Left to the guest because the balloon is in too many pieces.
    pub scattered: u64,
    /// Blocks that were asked back from their holders.
    pub asked: u64,
    /// Blocks that were mapped again because the guest wanted a page of them.
    pub returned: u64,
}
