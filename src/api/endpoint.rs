//! The paths of the API, and the method of each.

macro_rules! endpoints {
    ($($(#[$doc:meta])* $endpoint:ident = $method:literal $path:literal;)*) => {
        /// The paths of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Endpoint { $($(#[$doc])* $endpoint,)* }

        impl Endpoint {
            /// Every endpoint.
            pub const ALL: [Self; [$($path),*].len()] = [$(Self::$endpoint,)*];

            /// Its path.
            #[must_use]
            pub fn path(self) -> &'static str {
                match self { $(Self::$endpoint => $path,)* }
            }

            /// The one method it takes, as in `Allow`.
            #[must_use]
            pub fn method(self) -> &'static str {
                match self { $(Self::$endpoint => $method,)* }
            }
        }
    };
}

endpoints! {
    /// Is it up; the only one without a token.
    Health = "GET" "/health";
    /// Counts and sizes.
    Status = "GET" "/status";
    /// Come in, or come back.
    Register = "POST" "/register";
    /// Go.
    Unregister = "POST" "/unregister";
    /// Still here.
    Heartbeat = "POST" "/heartbeat";
    /// Who is here.
    Peers = "POST" "/peers";
    /// What a peer works on.
    Summary = "POST" "/summary";
    /// What a peer is called.
    Rename = "POST" "/rename";
    /// Send a message or broadcast.
    Send = "POST" "/send";
    /// Fetch, claim, or mark.
    Messages = "POST" "/messages";
    /// Messages of anyone to anyone.
    History = "POST" "/history";
    /// Shared state.
    State = "POST" "/state";
    /// File locks.
    Lock = "POST" "/lock";
    /// Events.
    Events = "POST" "/events";
    /// Machines of the mesh.
    Machines = "POST" "/machines";
    /// A token for the page.
    Page = "POST" "/page";
    /// Look at what is stored in the data directory of helpers.
    Reload = "POST" "/reload";
    /// Stop the broker.
    Shutdown = "POST" "/shutdown";
}

impl Endpoint {
    /// The endpoint at `path`.
    #[must_use]
    pub fn find(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|endpoint| endpoint.path() == path)
    }
}
