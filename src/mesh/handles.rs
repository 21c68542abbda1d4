//! Messages as those name them who sent or got them: by handle or by id.

use super::Mesh;
use super::turn::Failure;
use crate::api::{Code, Refusal};
use crate::model::{Message, MessageId, MessageRef, Party, Recipient, Seq};
use crate::store::{InboxQuery, Result, SentQuery, Store};

impl<S: Store> Mesh<S> {
    /// The message that `named` is for `party`. An id is taken as it is: it says itself which one is
    /// meant. A handle is short, and so means one of the party's own messages only.
    pub(super) fn message_named(
        &mut self,
        party: &Party,
        named: MessageRef,
    ) -> std::result::Result<MessageId, Failure> {
        let handle = match named {
            MessageRef::Id(id) => return Ok(id),
            MessageRef::Handle(handle) => handle,
        };
        let found = match handle.seq(self.store.last_seq()) {
            Some(seq) => self.own_message(party, seq)?,
            None => None,
        };
        found.map(|message| message.id).ok_or_else(|| {
            let message = format!(
                "`replyTo`: no message `{handle}` was sent to you or by you: take the handle that \
                 stands with the message, or leave it out"
            );
            Refusal::new(Code::InvalidRequest, message).into()
        })
    }

    /// The message with this number, if `party` got or sent it.
    pub(super) fn own_message(&mut self, party: &Party, seq: Seq) -> Result<Option<Message>> {
        if let Some(recipient) = party.inbox()
            && let Some(got) = self.got_message(recipient, seq)?
        {
            return Ok(Some(got));
        }
        self.sent_message(party, seq)
    }

    /// The message with this number, if `party` sent it.
    pub(super) fn sent_message(&mut self, party: &Party, seq: Seq) -> Result<Option<Message>> {
        let (before, after) = around(seq);
        let sent = SentQuery { sender: party, to: None, before, after, limit: 1 };
        Ok(self.store.sent(&sent, &mut |_| true)?.messages.pop())
    }

    /// The message with this number, if `recipient` got it.
    pub(super) fn got_message(
        &mut self,
        recipient: Recipient,
        seq: Seq,
    ) -> Result<Option<Message>> {
        let (before, after) = around(seq);
        let got = InboxQuery { before, after, ..InboxQuery::of(recipient, 1) };
        Ok(self.store.inbox(&got, None, &mut |_| true)?.messages.pop())
    }
}

/// The range in which one number is.
fn around(seq: Seq) -> (Option<Seq>, Option<Seq>) {
    (Some(seq.next()), seq.0.checked_sub(1).map(Seq))
}
