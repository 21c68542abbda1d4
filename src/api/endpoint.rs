//! The paths of the API, and the method of each.

/// The paths of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Is it up; the only one without a token.
    Health,
    /// Counts and sizes.
    Status,
    /// Come in, or come back.
    Register,
    /// Go.
    Unregister,
    /// Still here.
    Heartbeat,
    /// Who is here.
    Peers,
    /// What a peer works on.
    Summary,
    /// What a peer is called.
    Rename,
    /// Send a message or broadcast.
    Send,
    /// Fetch, claim, or mark.
    Messages,
    /// Messages of anyone to anyone.
    History,
    /// Shared state.
    State,
    /// File locks.
    Lock,
    /// Events.
    Events,
    /// Machines of the mesh.
    Machines,
    /// A token for the page.
    Page,
    /// Look at what is stored in the data directory of helpers.
    Reload,
    /// Stop the broker.
    Shutdown,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 18] = [
        Self::Health,
        Self::Status,
        Self::Register,
        Self::Unregister,
        Self::Heartbeat,
        Self::Peers,
        Self::Summary,
        Self::Rename,
        Self::Send,
        Self::Messages,
        Self::History,
        Self::State,
        Self::Lock,
        Self::Events,
        Self::Machines,
        Self::Page,
        Self::Reload,
        Self::Shutdown,
    ];

    /// Its path.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Status => "/status",
            Self::Register => "/register",
            Self::Unregister => "/unregister",
            Self::Heartbeat => "/heartbeat",
            Self::Peers => "/peers",
            Self::Summary => "/summary",
            Self::Rename => "/rename",
            Self::Send => "/send",
            Self::Messages => "/messages",
            Self::History => "/history",
            Self::State => "/state",
            Self::Lock => "/lock",
            Self::Events => "/events",
            Self::Machines => "/machines",
            Self::Page => "/page",
            Self::Reload => "/reload",
            Self::Shutdown => "/shutdown",
        }
    }

    /// The one method it takes, as in `Allow`.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Health | Self::Status => "GET",
            _ => "POST",
        }
    }

    /// The endpoint at `path`.
    #[must_use]
    pub fn find(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }
}
