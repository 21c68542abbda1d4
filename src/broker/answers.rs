//! The answers of a turn, until it has committed and they may leave.
//!
//! Bodies are written as soon as they are known, one behind the other into one piece of memory that
//! the next turn uses again; only what depends on the pushes of the turn waits for them.

use std::ops::Range;

use super::held::Asker;
use super::page;
use super::room::Said;
#[cfg(feature = "lan")]
use crate::api::Invited;
use crate::api::{Code, Detail, Refusal, Reply, Sent};
use crate::wire::http::server::{Connection, Response};

/// Memory kept from one turn to the next, bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// What the answer to a send takes, or a little more: it is written last.
const SENT_BYTES: usize = 256;
/// What that to an invitation takes, or a little more.
#[cfg(feature = "lan")]
const INVITED_BYTES: usize = 2048;

/// To whom an answer goes, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    /// Who has asked.
    pub(super) to: Asker,
    /// What becomes of the connection afterwards, unless it is known there.
    pub(super) connection: Connection,
    /// It is an answer to `HEAD`.
    pub(super) without_body: bool,
    /// It is the answer to a request that was held.
    pub(super) held: bool,
}

impl Address {
    /// That of an answer with a body to a request that was not held.
    pub(super) fn new(to: Asker, connection: Connection) -> Self {
        Self { to, connection, without_body: false, held: false }
    }

    /// That of the answer to a request of another machine.
    #[cfg(feature = "lan")]
    pub(super) fn of_machine(to: Asker) -> Self {
        Self::new(to, Connection::Keep)
    }

    /// That of the answer to a request that was held.
    pub(super) fn of_held(to: Asker) -> Self {
        Self { held: true, ..Self::new(to, Connection::Keep) }
    }
}

/// An answer of the turn.
#[derive(Debug)]
pub(super) enum What {
    /// Go on and send the body.
    Continue,
    /// A finished answer.
    Body(Body),
    /// To be finished when the pushes are out.
    Sent(Sent),
    /// To be finished by who knows under which key and address machines come in.
    #[cfg(feature = "lan")]
    Invited(Invited),
}

/// A finished answer, whose text lies in [`Answers::bytes`].
#[derive(Debug)]
pub(super) struct Body {
    status: u16,
    allow: Option<&'static str>,
    retry_after: Option<u64>,
    is_page: bool,
    bytes: Range<usize>,
}

impl Body {
    fn new(status: u16, bytes: Range<usize>) -> Self {
        Self { status, allow: None, retry_after: None, is_page: false, bytes }
    }
}

#[derive(Debug)]
struct Answer {
    address: Address,
    what: What,
    /// The turn has to commit before it is true.
    depends: bool,
}

/// The answers of a turn.
#[derive(Debug, Default)]
pub(super) struct Answers {
    list: Vec<Answer>,
    bytes: Vec<u8>,
}

impl Answers {
    /// Bytes of all bodies so far.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// A yes, that holds if the turn commits. Gives the size of its body.
    pub(super) fn reply(&mut self, address: Address, reply: Reply) -> usize {
        let (what, size) = match reply {
            Reply::Sent(sent) => (What::Sent(sent), SENT_BYTES),
            #[cfg(feature = "lan")]
            Reply::Invited(invited) => (What::Invited(invited), INVITED_BYTES),
            reply => {
                let body = self.write(&reply);
                let size = body.bytes.len();
                (What::Body(body), size)
            }
        };
        self.list.push(Answer { address, what, depends: true });
        size
    }

    /// A no; `depends` if it is one of the mesh, which looked at what the turn has done. Gives the
    /// size of its body.
    pub(super) fn refusal(&mut self, address: Address, refusal: &Refusal, depends: bool) -> usize {
        let body = self.write_refusal(refusal);
        let size = body.bytes.len();
        self.list.push(Answer { address, what: What::Body(body), depends });
        size
    }

    /// An answer that does not depend on the turn. Gives the size of its body.
    pub(super) fn plain(&mut self, address: Address, reply: &Reply) -> usize {
        let body = self.write(reply);
        let size = body.bytes.len();
        self.list.push(Answer { address, what: What::Body(body), depends: false });
        size
    }

    /// The page. Gives its size.
    pub(super) fn page(&mut self, address: Address) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(page::TEXT.as_bytes());
        let body = Body { is_page: true, ..Body::new(200, start..self.bytes.len()) };
        self.list.push(Answer { address, what: What::Body(body), depends: false });
        page::TEXT.len()
    }

    /// The go-ahead for a body.
    pub(super) fn go_ahead(&mut self, address: Address) {
        self.list.push(Answer { address, what: What::Continue, depends: false });
    }

    /// The turn has failed: whoever depended on it gets `refusal`.
    pub(super) fn fail(&mut self, refusal: &Refusal) {
        let mut list = std::mem::take(&mut self.list);
        for answer in list.iter_mut().filter(|answer| answer.depends) {
            answer.what = What::Body(self.write_refusal(refusal));
        }
        self.list = list;
    }

    /// Finishes what had to wait for the pushes.
    pub(super) fn finish(&mut self, confirm: impl Fn(&mut Sent)) {
        let mut list = std::mem::take(&mut self.list);
        for answer in &mut list {
            if let What::Sent(sent) = &mut answer.what {
                confirm(sent);
                let sent = Reply::Sent(sent.clone());
                answer.what = What::Body(self.write(&sent));
            }
        }
        self.list = list;
    }

    /// Finishes invitations.
    #[cfg(feature = "lan")]
    pub(super) fn invite(&mut self, complete: impl Fn(&mut Invited)) {
        let mut list = std::mem::take(&mut self.list);
        for answer in &mut list {
            if let What::Invited(invited) = &mut answer.what {
                complete(invited);
                let invited = Reply::Invited(invited.clone());
                answer.what = What::Body(self.write(&invited));
            }
        }
        self.list = list;
    }

    /// The answers in order.
    pub(super) fn each(&self, mut give: impl FnMut(Asker, Said<'_>)) {
        for Answer { address, what, .. } in &self.list {
            let said = match what {
                What::Body(body) if address.held => Said::Held(self.response(address, body)),
                What::Body(body) => Said::Answer(self.response(address, body)),
                What::Continue => Said::Continue,
                What::Sent(_) => {
                    debug_assert!(false, "an answer was not finished");
                    continue;
                }
                // Finished before, as far as there is a door.
                #[cfg(feature = "lan")]
                What::Invited(_) => continue,
            };
            give(address.to, said);
        }
    }

    /// Makes room for the next turn.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }

    fn response<'a>(&'a self, address: &Address, body: &Body) -> Response<'a> {
        Response {
            status: body.status,
            body: self.bytes.get(body.bytes.clone()).unwrap_or_default(),
            page: body.is_page.then(page::policy),
            connection: address.connection,
            allow: body.allow,
            retry_after: body.retry_after,
            without_body: address.without_body,
        }
    }

    fn write(&mut self, reply: &Reply) -> Body {
        let start = self.bytes.len();
        reply.write_to(&mut self.bytes);
        Body::new(200, start..self.bytes.len())
    }

    fn write_refusal(&mut self, refusal: &Refusal) -> Body {
        let start = self.bytes.len();
        refusal.write_to(&mut self.bytes);
        let (allow, retry_after) = headers(&refusal.detail);
        let body = Body::new(refusal.code.status(), start..self.bytes.len());
        Body { allow, retry_after, ..body }
    }
}

/// What stands in the head of a refusal.
fn headers(detail: &Detail) -> (Option<&'static str>, Option<u64>) {
    match detail {
        Detail::Allow(methods) => (Some(methods), None),
        Detail::RetryAfterMs(ms) => (None, Some(ms.div_ceil(1000))),
        Detail::None | Detail::Lock(_) | Detail::Locks(_) | Detail::Entry(_) => (None, None),
    }
}

/// Hands a refusal that belongs to no turn to `give`, as a response after which the connection is
/// closed.
pub(super) fn last_words<R>(refusal: &Refusal, give: impl FnOnce(&Response<'_>) -> R) -> R {
    let mut body = Vec::new();
    refusal.write_to(&mut body);
    let (allow, retry_after) = headers(&refusal.detail);
    give(&Response {
        status: refusal.code.status(),
        body: &body,
        connection: Connection::Close,
        allow,
        retry_after,
        ..Response::default()
    })
}

/// The broker cannot serve now.
pub(super) fn unavailable(why: &str) -> Refusal {
    Refusal::new(Code::Unavailable, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::HeartbeatReply;
    use crate::broker::table::{Key, Table};
    use crate::model::{MessageId, Seq};

    fn bodies(answers: &Answers) -> Vec<String> {
        let mut bodies = Vec::new();
        answers.each(|_, said| {
            bodies.push(match said {
                Said::Answer(response) => {
                    format!("{} {}", response.status, String::from_utf8_lossy(response.body))
                }
                other => format!("{other:?}").to_lowercase(),
            });
        });
        bodies
    }

    fn address(to: Key) -> Address {
        Address::new(Asker::Http(to), Connection::Keep)
    }

    #[test]
    fn answers_come_in_order_whenever_they_are_finished() {
        let to = address(Table::new().insert(()));
        let sent = Sent::Direct {
            message_id: MessageId::new(Seq(1), [0; 16]),
            queued: false,
            delivered: false,
            pushed: true,
            damped: None,
        };
        let mut answers = Answers::default();
        answers.plain(to, &Reply::Done {});
        answers.reply(to, Reply::Sent(sent));
        answers.go_ahead(to);
        assert_eq!(
            answers.reply(to, Reply::Heartbeat(HeartbeatReply { unread: 7, session_id: None })),
            22
        );
        answers.finish(|sent| {
            if let Sent::Direct { delivered, .. } = sent {
                *delivered = true;
            }
        });
        let all = bodies(&answers);
        assert_eq!((all.len(), all[0].as_str()), (4, r#"200 {"ok":true}"#));
        assert!(all[1].contains(r#""delivered":true,"pushed":true"#), "{}", all[1]);
        assert_eq!(all[2..], ["continue", r#"200 {"ok":true,"unread":7}"#]);
        answers.clear();
        assert_eq!((bodies(&answers).len(), answers.size()), (0, 0));
    }

    #[test]
    fn a_failure_replaces_what_depended_on_the_turn() {
        let to = address(Table::new().insert(()));
        let mut answers = Answers::default();
        answers.plain(to, &Reply::Done {});
        answers.refusal(to, &Refusal::new(Code::Unauthorized, "no"), false);
        answers.refusal(to, &Refusal::new(Code::PeerNotFound, "no"), true);
        answers.reply(to, Reply::Done {});
        answers.go_ahead(to);
        answers.fail(&unavailable("storage"));
        let statuses: Vec<String> =
            bodies(&answers).iter().map(|body| body[..3].to_owned()).collect();
        assert_eq!(statuses, ["200", "401", "503", "503", "con"]);
    }

    #[test]
    fn refusals_carry_what_belongs_into_the_head() {
        let limited = Refusal::new(Code::RateLimited, "slower").with(Detail::RetryAfterMs(1001));
        last_words(&limited, |response| {
            assert_eq!((response.status, response.retry_after), (429, Some(2)));
            assert_eq!(response.connection, Connection::Close);
        });
        let wrong = Refusal::new(Code::MethodNotAllowed, "no").with(Detail::Allow("GET"));
        last_words(&wrong, |response| assert_eq!(response.allow, Some("GET")));
    }
}
