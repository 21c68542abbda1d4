//! Which requests may be sent a second time, when the answer to the first is lost.

use crate::api::{Filter, LockFile, Request};

/// What it means to carry out a request a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Repetition {
    /// It may do something that the first time has not done.
    Harmful,
    /// It changes nothing more than the first time has.
    Harmless,
    /// The same, and nobody has to know whether there was a first time: the request changes nothing, or
    /// only what its client asks for again by itself.
    Unnoticed,
}

/// Whether `request` may be sent again when it is not known whether it was carried out.
pub(super) fn is_repeatable(request: &Request) -> bool {
    repetition(request) >= Repetition::Harmless
}

/// Whether a lost answer to `request` needs no follow-up.
pub(super) fn leaves_no_doubt(request: &Request) -> bool {
    repetition(request) == Repetition::Unnoticed
}

fn repetition(request: &Request) -> Repetition {
    let at_best = |best: Repetition, may: bool| if may { best } else { Repetition::Harmful };
    match request {
        Request::Health
        | Request::Status
        | Request::Peers(_)
        | Request::History(_)
        | Request::FindMessage { .. }
        | Request::GetState { .. }
        | Request::ListState { .. }
        | Request::QueryLocks { .. }
        | Request::QueryFiles { .. }
        | Request::ReadEvents(_)
        | Request::Heartbeat { .. }
        | Request::MarkRead { .. }
        | Request::MarkNotified { .. }
        | Request::MarkSent { .. }
        | Request::RenewClaim { .. }
        | Request::ReleaseClaim { .. } => Repetition::Unnoticed,
        // Without `peek` the messages of a lost answer are marked read and seen by nobody.
        Request::Fetch(fetch) => {
            at_best(Repetition::Unnoticed, fetch.peek || fetch.filter == Filter::Sent)
        }
        Request::Register(register) => at_best(Repetition::Unnoticed, register.peer_id.is_some()),
        Request::Rename { .. }
        | Request::LockFiles(_)
        | Request::Lock(LockFile { steal: false, .. })
        | Request::ListMachines
        | Request::Reload
        | Request::RemoveMachine { .. }
        | Request::OpenPage => Repetition::Harmless,
        Request::Send(message) => at_best(Repetition::Harmless, message.id.is_some()),
        Request::Emit { id, .. } => at_best(Repetition::Harmless, id.is_some()),
        Request::Unregister { .. }
        | Request::Summary { .. }
        | Request::Claim(_)
        | Request::SetState(_)
        | Request::DeleteState { .. }
        | Request::Lock(_)
        | Request::Unlock { .. }
        | Request::Subscribe { .. }
        | Request::Unsubscribe { .. }
        | Request::Invite { .. }
        | Request::LeaveHub {}
        | Request::Shutdown => Repetition::Harmful,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::api::{
        Claim, Fetch, LockFiles, LockPaths, Place, ReadEvents, Register, SendMessage,
    };
    use crate::model::{MessageKind, Way};

    #[test]
    fn what_is_repeatable() {
        let message = SendMessage {
            from_peer: None,
            to_peer: "a".into(),
            payload: "x".into(),
            kind: MessageKind::Text,
            reply_to: None,
            id: None,
            place: Place::default(),
        };
        let emit =
            |id| Request::Emit { peer_id: None, kind: "a.b".into(), payload: "1".into(), id };
        let id = Some(Uuid::from_bytes([1; 16]));
        let back = Register { peer_id: Some("x".into()), ..Register::default() };
        for (request, expected) in [
            (Request::Send(message.clone()), false),
            (Request::Send(SendMessage { id, ..message }), true),
            (emit(None), false),
            (emit(id), true),
            (Request::Fetch(Fetch::default()), false),
            (Request::Fetch(Fetch { peek: true, ..Fetch::default() }), true),
            (Request::Fetch(Fetch { filter: Filter::Sent, ..Fetch::default() }), true),
            (Request::Fetch(Fetch { filter: Filter::All, ..Fetch::default() }), false),
            (Request::Register(Box::default()), false),
            (Request::Register(Box::new(back)), true),
            (
                // A second time it could be taken from somebody else.
                Request::Lock(LockFile { steal: true, ..LockFile::default() }),
                false,
            ),
            (Request::Lock(LockFile::default()), true),
            (Request::Heartbeat { peer_id: None, git_branch: None, session_id: None }, true),
            (Request::ReadEvents(ReadEvents::default()), true),
            (Request::MarkRead { peer_id: None, ids: vec![], way: None, claim_id: None }, true),
            (
                Request::MarkNotified {
                    peer_id: None,
                    ids: vec![],
                    way: Way::Hook,
                    claim_id: None,
                },
                true,
            ),
            (Request::Claim(Claim::new(Way::Hook)), false),
            (Request::RenewClaim { peer_id: None, claim_id: Uuid::nil() }, true),
            (Request::Shutdown, false),
        ] {
            assert_eq!(is_repeatable(&request), expected, "{request:?}");
            // What leaves no doubt can be asked again.
            assert!(expected || !leaves_no_doubt(&request), "{request:?}");
        }
        let paths = LockPaths::default();
        let look = Request::QueryFiles { peer_id: None, paths: paths.clone() };
        let take = Request::LockFiles(LockFiles { paths, ..LockFiles::default() });
        assert_eq!((leaves_no_doubt(&look), leaves_no_doubt(&take)), (true, false));
    }
}
