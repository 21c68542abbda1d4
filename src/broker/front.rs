//! What a room makes of what comes on a connection of this machine, whatever answers it.

use super::answers::{Address, Answers};
use super::connection::{Flow, Incoming};
use super::gate::{Gate, malformed};
use super::held::Asker;
use crate::api::Refusal;
use crate::wire::http::server::{Connection, Method, Request};

/// See the module.
pub(super) trait Front {
    /// What is checked of requests.
    fn gate(&self) -> &Gate;

    /// The answers of the turn.
    fn out(&mut self) -> &mut Answers;

    /// Whether the turn takes no more requests.
    fn is_full(&self) -> bool;

    /// Looks at the head of a request alone, while its body is still to come.
    ///
    /// # Errors
    /// It may not be asked here.
    fn check(&mut self, request: &Request<'_>) -> Result<(), Refusal>;

    /// Takes a request. `has_gone`: its client has hung up, and would not get what it is given.
    fn ask(&mut self, address: Address, request: &Request<'_>, has_gone: bool) -> Flow;

    /// Takes what `to` has for the turn.
    fn take(&mut self, to: Asker, incoming: &Incoming<'_>, has_gone: bool) -> Flow {
        let owed = match incoming {
            Incoming::Head(request) => {
                return match self.check(request) {
                    Ok(()) => Flow::Next(0),
                    Err(refusal) => {
                        let without_body = request.method == Method::Head;
                        let close = Address::new(to, Connection::Close);
                        let address = Address { without_body, ..close };
                        Flow::Refuse(self.out().refusal(address, &refusal, false))
                    }
                };
            }
            Incoming::Request(request) => {
                let without_body = request.method == Method::Head;
                let address = Address { without_body, ..Address::new(to, request.connection) };
                if self.gate().is_for_page(request) {
                    self.out().page(address)
                } else {
                    match self.ask(address, request, has_gone) {
                        Flow::Next(owed) => owed,
                        other => return other,
                    }
                }
            }
            Incoming::Continue => {
                self.out().go_ahead(Address::new(to, Connection::Keep));
                0
            }
            Incoming::Malformed(error) => {
                let address = Address::new(to, Connection::Close);
                self.out().refusal(address, &malformed(*error), false)
            }
        };
        if self.is_full() { Flow::Full(owed) } else { Flow::Next(owed) }
    }
}
