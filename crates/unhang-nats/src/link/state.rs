//! How it stands with a connection.

/// How it stands with a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// Connected, and all that was subscribed is in force.
    pub(crate) is_up: bool,
    /// The node goes away.
    pub(crate) is_leaving: bool,
    /// The node has been silent for a moment.
    pub(crate) is_silent: bool,
    /// Counts the losses: what was sent in another one is lost.
    pub(crate) epoch: u64,
    /// What it is connected to.
    pub(crate) node: String,
    /// Why it is not connected.
    pub(crate) why: String,
}

impl State {
    pub(crate) fn is_usable(&self) -> bool {
        self.is_up && !self.is_leaving && !self.is_silent
    }
}
