use uuid::Uuid;

use super::super::request::{
    Claim, Fetch, Filter, GitPlace, History, ListPeers, LockFile, LockPath, LockPaths, ReadEvents,
    Register, SendMessage, SetState,
};
use super::*;
use crate::limits::{
    EVENT_TYPES_MAX, KEY_CHARS_MAX, MARK_IDS_MAX, PATH_BYTES_MAX, PROOF_HANDLES_MAX,
    SUMMARY_CHARS_MAX,
};
use crate::model::{
    MachineName, MessageId, Moment, PeerId, RepoHash, SentStatus, Seq, Timestamp, Way,
};

fn decode(endpoint: Endpoint, body: &str) -> Result<Request> {
    Request::decode(endpoint, body.as_bytes())
}

fn refused(endpoint: Endpoint, body: &str) -> String {
    decode(endpoint, body).unwrap_err().message.into()
}

#[test]
fn a_payload_stays_as_it_was_written() {
    for (written, kept) in [
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (
            " { \"b\" : 18446744073709551617 , \"a\": 1.10 } ",
            r#"{"b":18446744073709551617,"a":1.10}"#,
        ),
        (r#""two words\" \\ ""#, r#""two words\" \\ ""#),
        ("[ ]", "[]"),
        ("null", "null"),
    ] {
        let body = format!(r#"{{"action":"emit","type":"a.b","payload":{written}}}"#);
        let request = Request::decode(Endpoint::Events, body.as_bytes()).unwrap();
        let Request::Emit { payload, .. } = request else { panic!("{request:?}") };
        assert_eq!(&*payload, kept);
    }
}

#[test]
fn errors_name_the_field_and_what_was_expected() {
    use Endpoint as E;
    for (endpoint, body, words) in [
        (E::Send, r#"{"toPeer":5}"#, ["toPeer", "string"]),
        (E::Send, "{}", ["toPeer", "missing"]),
        (E::Send, r#"{"toPeer":"a","payload":""}"#, ["payload", "1 to 65536 bytes"]),
        (E::Send, r#"{"toPeer":"a","payload":"x","type":"shout"}"#, ["type", "alert"]),
        (E::Send, r#"{"toPeer":"a","payload":"{","type":"json"}"#, ["payload", "JSON"]),
        (E::Messages, r#"{"limit":0}"#, ["limit", "1 to 1000"]),
        (E::Messages, r#"{"limit":1001}"#, ["limit", "1 to 1000"]),
        (E::Messages, r#"{"limit":1.5}"#, ["limit", "whole number"]),
        (E::Messages, r#"{"wait":56}"#, ["wait", "0 to 55"]),
        (E::Messages, r#"{"markRead":["x"]}"#, ["markRead", "message ids"]),
        (E::Messages, r#"{"markRead":[],"way":"owl"}"#, ["way", "inbox-socket"]),
        (E::Messages, r#"{"markNotified":[]}"#, ["way", "missing"]),
        (E::Messages, r#"{"markNotified":["x"],"way":"hook"}"#, ["markNotified", "ids"]),
        (E::Messages, r#"{"markNotified":[],"way":"owl"}"#, ["way", "tool-result"]),
        (E::Messages, r#"{"claim":"me"}"#, ["claim", "hook"]),
        (E::Messages, r#"{"claim":true}"#, ["claim", "hook"]),
        (E::Messages, r#"{"claim":"hook","wait":3601}"#, ["wait", "0 to 3600"]),
        (E::Messages, r#"{"claim":"hook","moment":"now"}"#, ["moment", "prompt"]),
        (E::Messages, r#"{"claim":"hook","proof":["1234"]}"#, ["proof", "handles"]),
        (E::Messages, r#"{"markSent":[],"way":"queue"}"#, ["status", "missing"]),
        (E::Messages, r#"{"markSent":[],"status":"sent"}"#, ["way", "missing"]),
        (E::Messages, r#"{"markSent":[],"way":"queue","status":"lost"}"#, ["status", "held"]),
        (E::Messages, r#"{"markRead":[],"claimId":"x"}"#, ["claimId", "UUID"]),
        (E::Messages, r#"{"renew":true}"#, ["renew", "UUID"]),
        (E::Messages, r#"{"release":"x"}"#, ["release", "UUID"]),
        (E::Messages, r#"{"renew":"x","release":"x"}"#, ["release", "send one"]),
        (E::Send, r#"{"toPeer":"a","payload":"x","replyTo":"1234"}"#, ["replyTo", "handle"]),
        (E::Messages, r#"{"claim":"hook","limit":0}"#, ["limit", "1 to 1000"]),
        (E::Messages, r#"{"claim":"hook","markRead":[]}"#, ["claim", "send one"]),
        (E::Messages, r#"{"markNotified":[],"markRead":[]}"#, ["markRead", "send one"]),
        (E::State, r#"{"key":"a"}"#, ["action", "get, set"]),
        (E::State, r#"{"action":"get"}"#, ["key", "missing"]),
        (E::Lock, r#"{"action":"lock","filePath":"a","ttlMinutes":1441}"#, ["ttlMinutes", "1440"]),
        (
            E::Lock,
            r#"{"action":"lock","filePath":"a","steal":true,"reason":" "}"#,
            ["`reason` is missing", "why"],
        ),
        (
            E::Lock,
            r#"{"action":"lock","filePath":"a","steal":true,"reason":"r","wait":1}"#,
            ["`steal`", "`wait`"],
        ),
        (E::Lock, r#"{"action":"lock","filePath":"a","wait":56}"#, ["wait", "0 to 55"]),
        (E::Lock, r#"{"action":"lock","filePath":"a","place":"x"}"#, ["place", "UUID"]),
        (E::Lock, r#"{"action":"query","filePath":""}"#, ["filePath", "1 to 4096"]),
        (E::Lock, r#"{"action":"lock","filePaths":[]}"#, ["filePaths", "1 to 256"]),
        (E::Lock, r#"{"action":"query","filePaths":[""]}"#, ["filePaths", "1 to 4096"]),
        (E::Lock, r#"{"action":"lock","filePaths":["a"],"wait":1}"#, ["`wait`", "one lock"]),
        (E::Lock, r#"{"action":"lock","filePaths":["a"],"steal":true}"#, ["`steal`", "one"]),
        (E::Lock, r#"{"action":"query","filePaths":["a"],"filePath":"a"}"#, ["two", "one"]),
        (E::Events, r#"{"action":"emit","type":"mesh.plain"}"#, ["type", "mesh"]),
        (E::Events, r#"{"action":"emit","type":"peer_joined"}"#, ["type", "mesh's own"]),
        (E::Events, r#"{"action":"emit","type":"a b"}"#, ["type", "name"]),
        (E::State, r#"{"action":"list","allNamespaces":true,"prefix":"a"}"#, ["prefix", "one"]),
        (E::Events, r#"{"action":"read","types":["b*"]}"#, ["types", "prefix"]),
        (E::Events, r#"{"action":"subscribe","types":[]}"#, ["types", "at least one"]),
        (E::Peers, r#"{"scope":"repo"}"#, ["repo", "gitRoot"]),
        (E::Peers, r#"{"scope":"galaxy"}"#, ["scope", "machine"]),
        (E::Peers, r#"{"scope":"repo","repoHash":"12"}"#, ["repoHash", "64"]),
        (E::Machines, r#"{"action":"invite","name":"a b"}"#, ["name", "letters"]),
        (E::Machines, r#"{"action":"invite","minutes":1441}"#, ["minutes", "1440"]),
        (E::Machines, r#"{"action":"remove"}"#, ["name", "missing"]),
        (E::Register, r#"{"projectPath":"/p"}"#, ["pid", "missing"]),
        (E::Register, r#"{"pid":1,"projectPath":"/p","private":1}"#, ["private", "true"]),
        (E::Register, "[]", ["object", "body"]),
    ] {
        let message = refused(endpoint, body);
        assert!(words.iter().all(|word| message.contains(word)), "{body}: {message}");
    }
    assert_eq!(decode(E::Send, "{").unwrap_err().code, Code::InvalidJson);
    assert_eq!(decode(E::Send, "\u{1}").unwrap_err().code, Code::InvalidJson);
    assert_eq!(Request::decode(E::Send, b"{\"a\":\"\xff\"}").unwrap_err().code, Code::InvalidJson);
}

#[test]
fn both_sides_of_each_text_limit() {
    let send = |n: usize| format!(r#"{{"toPeer":"a","payload":"{}"}}"#, "x".repeat(n));
    assert!(decode(Endpoint::Send, &send(PAYLOAD_BYTES_MAX)).is_ok());
    assert!(decode(Endpoint::Send, &send(PAYLOAD_BYTES_MAX + 1)).is_err());
    let summary = |n: usize| format!(r#"{{"summary":"{}"}}"#, "é".repeat(n));
    assert!(decode(Endpoint::Summary, &summary(SUMMARY_CHARS_MAX)).is_ok());
    assert!(decode(Endpoint::Summary, &summary(SUMMARY_CHARS_MAX + 1)).is_err());
    let key = |n: usize| format!(r#"{{"action":"get","key":"{}"}}"#, "k".repeat(n));
    assert!(decode(Endpoint::State, &key(KEY_CHARS_MAX)).is_ok());
    assert!(decode(Endpoint::State, &key(KEY_CHARS_MAX + 1)).is_err());
    let path = |n: usize| format!(r#"{{"action":"lock","filePath":"{}"}}"#, "p".repeat(n));
    assert!(decode(Endpoint::Lock, &path(PATH_BYTES_MAX)).is_ok());
    assert!(decode(Endpoint::Lock, &path(PATH_BYTES_MAX + 1)).is_err());
    let files =
        |n: usize| format!(r#"{{"action":"lock","filePaths":[{}]}}"#, vec![r#""p""#; n].join(","));
    assert!(decode(Endpoint::Lock, &files(LOCK_FILES_MAX)).is_ok());
    assert!(decode(Endpoint::Lock, &files(LOCK_FILES_MAX + 1)).is_err());
    let types =
        |n: usize| format!(r#"{{"action":"read","types":[{}]}}"#, vec![r#""a.b""#; n].join(","));
    assert!(decode(Endpoint::Events, &types(EVENT_TYPES_MAX)).is_ok());
    assert!(decode(Endpoint::Events, &types(EVENT_TYPES_MAX + 1)).is_err());
    let id = MessageId::new(Seq(1), [0; 16]);
    for form in ["markRead", "markNotified", "markSent"] {
        let mark = |n: usize| {
            let ids = vec![format!("\"{id}\""); n].join(",");
            format!(r#"{{"{form}":[{ids}],"way":"hook","status":"sent"}}"#)
        };
        assert!(decode(Endpoint::Messages, &mark(MARK_IDS_MAX)).is_ok());
        assert!(decode(Endpoint::Messages, &mark(MARK_IDS_MAX + 1)).is_err());
    }
    let proof = |n: usize| {
        let handles = vec![format!("\"{}\"", id.handle()); n].join(",");
        format!(r#"{{"claim":"hook","moment":"prompt","proof":[{handles}]}}"#)
    };
    assert!(decode(Endpoint::Messages, &proof(PROOF_HANDLES_MAX)).is_ok());
    assert!(decode(Endpoint::Messages, &proof(PROOF_HANDLES_MAX + 1)).is_err());
    let emit =
        |n: usize| format!(r#"{{"action":"emit","type":"a.b","payload":"{}"}}"#, "x".repeat(n - 2));
    assert!(decode(Endpoint::Events, &emit(PAYLOAD_BYTES_MAX)).is_ok());
    assert!(decode(Endpoint::Events, &emit(PAYLOAD_BYTES_MAX + 1)).is_err());
}

#[test]
fn unknown_fields_nulls_and_empty_bodies_are_fine() {
    assert_eq!(
        decode(Endpoint::Messages, r#"{"future":[1,{}],"limit":null}"#).unwrap(),
        Request::Fetch(Fetch::default())
    );
    assert_eq!(decode(Endpoint::Shutdown, "").unwrap(), Request::Shutdown);
    let Request::Fetch(fetch) = decode(Endpoint::Messages, r#"{"limit":5.0}"#).unwrap() else {
        panic!("not a fetch");
    };
    assert_eq!(fetch.limit, Some(5));
}

#[test]
fn what_clients_write_is_what_the_broker_reads() {
    let id = MessageId::new(Seq(7), [3; 16]);
    let me: Option<Box<str>> = Some("me".into());
    let requests = [
        Request::Register(Box::new(Register {
            pid: 7,
            project_path: "/p".into(),
            name: Some("n".into()),
            repo_id: Some("/p/.git".into()),
            acks: true,
            agent_pid: Some(3),
            ..Register::default()
        })),
        Request::Unregister { peer_id: me.clone(), away: true },
        Request::Heartbeat {
            peer_id: me.clone(),
            git_branch: Some("main".into()),
            session_id: Some("s".into()),
        },
        Request::Peers(ListPeers {
            scope: Scope::Directory { project_path: "/p".into() },
            include_stale: true,
            agent_pids: vec![1, 2],
            agents: true,
            ..ListPeers::default()
        }),
        Request::Peers(ListPeers {
            scope: Scope::Repo(GitPlace {
                git_root: None,
                repo_id: Some("/r".into()),
                repo_hash: Some(RepoHash([5; 32])),
            }),
            ..ListPeers::default()
        }),
        Request::Peers(ListPeers::default()),
        Request::Summary { peer_id: me.clone(), summary: "s".into() },
        Request::Send(SendMessage {
            from_peer: me.clone(),
            to_peer: "all".into(),
            payload: "\"\\\u{0}é".into(),
            kind: MessageKind::Alert,
            reply_to: Some(id.into()),
            id: Some(Uuid::from_bytes([9; 16])),
            place: Place {
                project_path: Some("/p".into()),
                git: GitPlace {
                    git_root: None,
                    repo_id: Some("/r".into()),
                    repo_hash: Some(RepoHash([6; 32])),
                },
            },
        }),
        Request::Fetch(Fetch {
            filter: Filter::Sent,
            limit: Some(3),
            after: Some(Seq(5)),
            wait: 5,
            peek: true,
            ..Fetch::default()
        }),
        Request::GetState { namespace: "n".into(), key: "k".into() },
        Request::SetState(SetState {
            peer_id: me.clone(),
            namespace: "n".into(),
            key: "k".into(),
            value: String::new().into(),
            if_version: Some(Seq(0)),
            ttl_seconds: Some(5),
        }),
        Request::DeleteState {
            peer_id: None,
            namespace: "n".into(),
            key: "k".into(),
            if_version: Some(Seq(4)),
        },
        Request::Lock(LockFile {
            peer_id: None,
            path: LockPath {
                exact: true,
                git: GitPlace {
                    git_root: Some("/r".into()),
                    repo_id: Some("/r/.git".into()),
                    repo_hash: Some(RepoHash([7; 32])),
                },
                ..LockPath::of("f")
            },
            reason: Some("r".into()),
            ttl_minutes: Some(3),
            shared: true,
            wait: 55,
            place: Some(Uuid::from_bytes([2; 16])),
            steal: false,
        }),
        Request::Lock(LockFile {
            path: LockPath::of("f"),
            reason: Some("r".into()),
            steal: true,
            ..LockFile::default()
        }),
        Request::Unlock { peer_id: me.clone(), path: LockPath::of("f/**"), force: true },
        Request::QueryLocks { peer_id: None, path: None },
        Request::QueryLocks { peer_id: me.clone(), path: Some(LockPath::of("repo:f")) },
        Request::ReadEvents(ReadEvents {
            types: vec!["a.*".into()],
            since: Some(Timestamp(1_000)),
            limit: Some(9),
            wait: 3,
            ..ReadEvents::default()
        }),
        Request::Subscribe { peer_id: me.clone(), types: vec!["*".into()] },
        Request::Unsubscribe { peer_id: me.clone() },
        Request::Emit {
            peer_id: me,
            kind: "a.b".into(),
            payload: r#"{"x":[1]}"#.into(),
            id: Some(Uuid::from_bytes([1; 16])),
        },
        Request::OpenPage,
        Request::Reload,
        Request::Shutdown,
    ];
    for request in requests {
        let body = request.body();
        let text = String::from_utf8(body.clone()).unwrap();
        assert_eq!(Request::decode(request.endpoint(), &body), Ok(request), "{text}");
    }
}

#[test]
fn claims_and_marks_are_read_as_clients_write_them() {
    let (id, claim_id) = (MessageId::new(Seq(7), [3; 16]), Uuid::from_bytes([4; 16]));
    let me: Option<Box<str>> = Some("me".into());
    for request in [
        Request::MarkRead { peer_id: None, ids: vec![id], way: None, claim_id: None },
        Request::MarkRead {
            peer_id: None,
            ids: vec![],
            way: Some(Way::Hook),
            claim_id: Some(claim_id),
        },
        Request::MarkNotified {
            peer_id: me.clone(),
            ids: vec![id],
            way: Way::InboxSocket,
            claim_id: Some(claim_id),
        },
        Request::MarkSent {
            peer_id: None,
            ids: vec![id],
            way: Way::Queue,
            status: SentStatus::NotRunning,
            whole: true,
            claim_id: Some(claim_id),
        },
        Request::Claim(Claim::new(Way::Hook)),
        Request::Claim(Claim {
            peer_id: me.clone(),
            by: Way::WaitHook,
            limit: Some(7),
            wait: 3600,
            moment: Some(Moment::Prompt),
            proof: vec![id.handle()],
        }),
        Request::RenewClaim { peer_id: me.clone(), claim_id },
        Request::ReleaseClaim { peer_id: None, claim_id },
    ] {
        let body = request.body();
        let text = String::from_utf8(body.clone()).unwrap();
        assert_eq!(Request::decode(request.endpoint(), &body), Ok(request), "{text}");
    }
    // Words that other programs use.
    let sent = br#"{"markSent":[],"way":"socket","status":"denied"}"#;
    let Ok(Request::MarkSent { way, status, .. }) = Request::decode(Endpoint::Messages, sent)
    else {
        panic!("not read");
    };
    assert_eq!((way, status), (Way::InboxSocket, SentStatus::Declined));
}

#[test]
fn what_is_asked_of_all_and_of_machines_is_read_as_clients_write_it() {
    for request in [
        Request::Peers(ListPeers { scope: Scope::Mesh, ..ListPeers::default() }),
        Request::Peers(ListPeers {
            ids: vec![PeerId::from_random([4; 16])],
            include_departed: true,
            unread: true,
            ..ListPeers::default()
        }),
        Request::ListState {
            namespace: Some("n".into()),
            prefix: Some("p".into()),
            after: None,
            limit: Some(9),
        },
        Request::ListState {
            namespace: None,
            prefix: None,
            after: Some(["n".into(), "k".into()]),
            limit: None,
        },
        Request::Rename { peer_id: Some("me".into()), name: "x".into() },
        Request::FindMessage { message: MessageId::new(Seq(7), [3; 16]).handle().into() },
        Request::History(History {
            with: Some("#build".into()),
            text: Some("t".into()),
            thread: vec![MessageId::new(Seq(7), [3; 16])],
            since: Some(Timestamp(0)),
            before: Some(Seq(9)),
            after: Some(Seq(1)),
            limit: Some(5),
        }),
        Request::ListState { namespace: None, prefix: None, after: None, limit: None },
        Request::ListMachines,
        Request::Invite { name: None, minutes: None },
        Request::Invite { name: MachineName::new("laptop"), minutes: Some(60) },
        Request::RemoveMachine { name: MachineName::new("laptop").unwrap() },
        Request::LeaveHub {},
    ] {
        let body = request.body();
        assert_eq!(Request::decode(request.endpoint(), &body), Ok(request));
    }
}

#[test]
fn the_files_of_an_edit_are_read_as_clients_write_them() {
    for request in [
        Request::LockFiles(LockFiles {
            paths: LockPaths {
                file_paths: vec!["a".into(), "/b".into()],
                exact: true,
                git: GitPlace {
                    git_root: Some("/r".into()),
                    repo_id: Some("/r/.git".into()),
                    repo_hash: Some(RepoHash([8; 32])),
                },
            },
            shared: true,
            ttl_minutes: Some(2),
            subagent: Some("s".into()),
            ..LockFiles::default()
        }),
        Request::QueryFiles {
            peer_id: Some("me".into()),
            paths: LockPaths { file_paths: vec!["a".into()], ..LockPaths::default() },
        },
    ] {
        let body = request.body();
        assert_eq!(Request::decode(request.endpoint(), &body), Ok(request));
    }
}

#[test]
fn every_endpoint_is_found_by_its_path() {
    for endpoint in Endpoint::ALL {
        assert_eq!(Endpoint::find(endpoint.path()), Some(endpoint));
    }
    assert_eq!(Endpoint::find("/"), None);
}

#[test]
fn clients_write_nothing_that_need_not_be_said() {
    let id = MessageId::new(Seq(7), [3; 16]);
    let register = Register { pid: 7, project_path: "/p".into(), ..Register::default() };
    let lock = LockFile { path: LockPath::of("f"), wait: 5, ..LockFile::default() };
    let emit = Request::Emit {
        peer_id: None,
        kind: "a.b".into(),
        payload: r#"{"x": [1]}"#.into(),
        id: None,
    };
    for (request, body) in [
        (Request::Shutdown, "{}".to_owned()),
        (Request::ListMachines, r#"{"action":"list"}"#.to_owned()),
        (
            Request::Register(Box::new(register)),
            r#"{"pid":7,"projectPath":"/p","private":false,"acks":false}"#.to_owned(),
        ),
        (Request::Fetch(Fetch::default()), r#"{"filter":"unread","peek":false}"#.to_owned()),
        (
            Request::MarkRead { peer_id: None, ids: vec![id], way: None, claim_id: None },
            format!(r#"{{"markRead":["{id}"]}}"#),
        ),
        (
            Request::ListState { namespace: None, prefix: None, after: None, limit: None },
            r#"{"action":"list","allNamespaces":true}"#.to_owned(),
        ),
        (
            Request::Peers(ListPeers::default()),
            r#"{"scope":"machine","includeStale":false}"#.to_owned(),
        ),
        (Request::Lock(lock), r#"{"action":"lock","filePath":"f","wait":5}"#.to_owned()),
        (emit, r#"{"action":"emit","type":"a.b","payload":{"x": [1]}}"#.to_owned()),
    ] {
        assert_eq!(String::from_utf8(request.body()).unwrap(), body);
    }
}

#[test]
fn a_body_is_json_throughout() {
    let deep = "[".repeat(200);
    for (endpoint, body) in [
        (Endpoint::Shutdown, r#"{"future":"\ud800"}"#.to_owned()),
        (Endpoint::Shutdown, format!(r#"{{"future":{deep}{}}}"#, deep.replace('[', "]"))),
        (Endpoint::Send, r#"{"toPeer":"a","payload":"\ud800"}"#.to_owned()),
        (Endpoint::Send, r#"{"toPeer":5,"future":1e999}"#.to_owned()),
        (
            Endpoint::Events,
            format!(r#"{{"action":"emit","type":"a","payload":{deep}{}}}"#, deep.replace('[', "]")),
        ),
    ] {
        assert_eq!(decode(endpoint, &body).unwrap_err().code, Code::InvalidJson, "{body}");
    }
}

#[test]
fn of_several_fields_with_one_name_the_last_counts() {
    let twice = r#"{"limit":5,"limit":7,"p\u0065ek":true,"peek":null}"#;
    let fetch = Fetch { limit: Some(7), ..Fetch::default() };
    assert_eq!(decode(Endpoint::Messages, twice), Ok(Request::Fetch(fetch)));
}
