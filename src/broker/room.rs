//! What answers the clients of this machine, as the shell around it sees it: the mesh in this process,
//! or the way to one elsewhere.
//!
//! The shell has the descriptors: it accepts, reads, writes, connects and watches, and decides nothing
//! about the mesh. A room has none. It is told what clients ask and what has become of the ways to
//! peers, and says what to do in [`Effects`] and answers.
//!
//! There is one loop in the binary, whatever answers in it, so it is used as `dyn Room`. It works in
//! turns: [`Room::begin`], any number of [`Room::take`], [`Room::end`]. Then the shell
//! carries out the effects, pushes first, tells what has come of those ([`Room::hear`]), and asks for
//! the answers ([`Room::answers`]).

use super::connection::{Flow, Incoming};
use super::held::{Asker, Cut};
use super::links::News;
use super::table::{Key, Kind};
use crate::mesh::Effects;
use crate::model::{MachineId, Monotonic, Now, PeerId};
use crate::role;
use crate::store::Result;
use crate::wire::http::server::Response;

/// What a client is to get.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// The go-ahead for the body of its request.
    Continue,
    /// An answer.
    Answer(Response<'a>),
    /// The answer to the request that was held ([`Flow::Hold`]): its connection goes on.
    Held(Response<'a>),
    #[cfg_attr(not(feature = "lan"), expect(dead_code, reason = "only a relay cannot know"))]
    /// Nothing: what came of its request cannot be known, and its connection ends without a word.
    Nothing,
}

/// See the module.
pub(super) trait Room {
    /// As what it serves now.
    fn role(&self) -> role::Kind;

    /// The hub that it is the way to, if that is known.
    fn hub(&self) -> Option<MachineId> {
        None
    }

    /// What is to be done before anything else: connect to peers from before this start.
    fn start(&mut self) -> Effects {
        Effects::default()
    }

    // Turns

    /// What goes before a turn at `now`: a turn of its own, to be carried out like any, as long as
    /// there is one.
    ///
    /// # Errors
    /// The broker has to end.
    fn prepare(&mut self, _now: Now) -> Result<Option<Effects>> {
        Ok(None)
    }

    /// Begins a turn at `now`, unless nothing is to be done in one: no client is `asking`, and
    /// nothing is due. Gives whether it has.
    fn begin(&mut self, now: Now, asking: bool) -> bool;

    /// Whether the turn takes no more requests.
    fn is_full(&self) -> bool;

    /// Takes what a client has. `has_gone`: it has hung up, and would not get what it is given. An
    /// answer to everything but [`Incoming::Head`] comes with [`Room::answers`] of this turn, or of a
    /// later one after [`Flow::Hold`].
    fn take(&mut self, asker: Asker, incoming: &Incoming<'_>, has_gone: bool) -> Flow;

    /// Ends the turn: what is to be done. If the turn came to nothing, that is nothing, and the
    /// answers say so.
    ///
    /// # Errors
    /// The broker has to end.
    fn end(&mut self) -> Result<Effects>;

    /// The peers whose links are taken note of since this was last asked: from now on their
    /// connections get what is pushed. To be asked before the effects of a turn are carried out.
    fn take_announced(&mut self) -> Vec<PeerId>;

    /// Hands out the answers that may leave, in order.
    fn answers(&mut self, give: &mut dyn FnMut(Asker, Said<'_>));

    /// Does what nobody waits for, if it is time for that.
    fn take_care(&mut self, _now: Monotonic) {}

    // News

    /// What has become of the way to a peer.
    fn hear(&mut self, news: News, now: Now);

    /// The process of this peer whose end was told was a former one: what was not made of that yet
    /// is not true any more. A relay's hub knows that by itself.
    fn was_former(&mut self, _peer: PeerId) {}

    /// The client of a held request has gone, or has nothing more to say.
    fn hung_up(&mut self, asker: Asker, now: Monotonic);

    /// The connection of a client has ended; see [`super::held::Held::closed`] for `cut`, which costs
    /// a system call.
    fn closed(&mut self, asker: Asker, now: Monotonic, cut: &mut dyn FnMut() -> Option<Cut>);

    // Descriptors of its own: connections to other machines

    /// Something has happened to what it has registered itself: kinds from [`Kind::Entrance`] on.
    fn event(&mut self, _kind: Kind, _key: Key) {}

    /// Writes what it has for other machines, as far as they take it: after the effects and the answers
    /// of a turn, and whenever something has happened.
    fn flush(&mut self, _now: Now) {}

    /// Whether something waits to be written to other machines.
    fn has_output(&self) -> bool {
        false
    }

    /// Descriptors that it has itself, but for one that is among those that are kept free.
    fn descriptors(&self) -> usize {
        0
    }

    // Time

    /// When the next turn is due, if no client asks before.
    fn next_deadline(&self, now: Now) -> Option<Monotonic>;

    /// Whether nobody is here: no peer, and no request that waits of anyone who counts.
    fn is_idle(&self, counts: &dyn Fn(Asker) -> bool) -> bool;

    // The end

    /// Takes leave of the peers of this machine: they are told `reason`.
    fn goodbye(&mut self, reason: &str, now: Now) -> Effects;

    /// Ends the requests that wait. Those that are given are to be refused; of any others nothing is
    /// known, and their connections end without an answer.
    fn end_held(&mut self) -> Vec<Asker>;

    /// Closes what it keeps.
    ///
    /// # Errors
    /// What was acknowledged is kept all the same, and found at the next start.
    fn close(self: Box<Self>) -> Result<()>;
}
