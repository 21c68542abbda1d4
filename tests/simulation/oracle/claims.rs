//! Claims: a message is told by one at a time.

use serde_json::Value;
use slm_mesh::api::Claimed;
use slm_mesh::limits::CLAIM_TIME;
use slm_mesh::model::{MessageId, Monotonic, Party, PeerId};

use super::{Claim, Oracle};
use crate::generate::Known;

impl Oracle {
    /// A claim lasts longer, or ends.
    pub(super) fn claim_lasts(&mut self, body: &Value, now: Monotonic) {
        for (form, renewed) in [("renew", true), ("release", false)] {
            let Some(id) = body[form].as_str() else { continue };
            self.met.insert(form.to_owned());
            self.claims.retain(|_, claim| renewed || claim.id != id);
            for claim in self.claims.values_mut().filter(|claim| claim.id == id) {
                claim.since = now;
            }
        }
    }

    /// What is marked is under no claim any more.
    pub(super) fn marked(&mut self, body: &Value) {
        for form in ["markRead", "markNotified", "markSent"] {
            for id in body[form].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.claims.remove(&MessageId::parse(id).unwrap());
            }
        }
    }

    /// A message is given to one at a time, and only while it is unread and nobody has told it.
    pub(super) fn claim(
        &mut self,
        given: &Claimed,
        by: Option<PeerId>,
        known: &mut Known,
        now: Monotonic,
    ) {
        for id in &given.proven {
            self.met.insert("proven".to_owned());
            self.claims.remove(id);
        }
        if given.defer_ms.is_some() {
            self.met.insert("deferred".to_owned());
        }
        assert_eq!(
            given.claim_id.is_some(),
            !given.messages.is_empty(),
            "what is given is claimed"
        );
        let id = given.claim_id.map(|id| id.to_string()).unwrap_or_default();
        for message in &given.messages {
            assert_eq!(message.read_at, None, "a message that was read is not given");
            let told = (message.sent_at, message.notified_at);
            assert_eq!(told, (None, None), "a message that was told is not given");
            known.claims.push_front((id.clone(), message.handle.to_string()));
            known.claims.truncate(6);
            known.claims.make_contiguous();
            let Some(to) = by.or(message.to_peer.as_ref().and_then(Party::peer)) else { continue };
            if message.to_peer.is_none() {
                continue;
            }
            self.met.insert("claimed".to_owned());
            // What is in a mailbox may be another's by now.
            let claim = Claim { of: to, id: id.clone(), since: now };
            if let Some(former) = self.claims.insert(message.id, claim)
                && former.of == to
            {
                let over = now.since(former.since) >= CLAIM_TIME;
                assert!(over, "{} is under two claims", message.id);
                self.met.insert("claimed again".to_owned());
            }
        }
    }
}
