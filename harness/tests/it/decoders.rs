//! Every reader of bytes that come from elsewhere, on what a broken or hostile peer may send: valid inputs, damaged. A reader may
//! refuse anything, and may panic at nothing (integer overflow panics in every build of ours). As many inputs each time, drawn
//! from a fixed seed: what fails here fails everywhere.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Duration,
};

use chat_protocol::{
    ChatRecord, Position,
    borrowed::{Message, Send},
    bus::BusFrame,
    token::{self, Claims, Key},
};
use harness::{
    clock::Clock,
    history::{EventKind, FaultStep, History, HistoryWriter, Ledger, Lifecycle, Phase, Reaction, Reason},
    load::socket_io::{
        Session, SessionError,
        codec::{self, Incoming},
    },
    plan::{Plan, ProcessName},
    scenario::Scenario,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message as WsMessage;

use crate::testbed;

/// Inputs for each reader; a second or two in all.
const INPUTS: u32 = 20_000;
/// Histories, which are files.
const HISTORIES: u32 = 2_000;

/// Damages an input a few times.
fn damaged(input: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let length = bytes.len();
        let at = rng.random_range(0..=length);
        let to = rng.random_range(at..=length.min(at + 16));
        match rng.random_range(0..6) {
            0 if at < length => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < length => {
                bytes[at] = [0, 1, b'"', b'\\', b'-', b'9', 0x7f, 0x80, 0xff][rng.random_range(0..9)]
            }
            2 => drop(bytes.drain(at..to)),
            3 => drop(
                bytes.splice(at..at, (0..rng.random_range(1..9)).map(|_| rng.random()).collect::<Vec<u8>>()),
            ),
            4 => {
                let again = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, again));
            }
            // A number at the end of what it may be.
            _ => {
                let numbers: [&[u8]; 5] = [
                    b"9223372036854775807",
                    b"-9223372036854775808",
                    b"18446744073709551615",
                    b"1e308",
                    b"4294967295",
                ];
                drop(bytes.splice(at..to, numbers[rng.random_range(0..5)].iter().copied()));
            }
        }
    }
    bytes
}

/// Reads many damaged inputs; whatever the reader says is right, as long as it says something.
fn survives(reader: &str, inputs: &[Vec<u8>], times: u32, mut read: impl FnMut(&[u8])) {
    let mut rng = ChaCha8Rng::seed_from_u64(31);
    for nth in 0..times {
        let input = damaged(&inputs[nth as usize % inputs.len()], &mut rng);
        let read = catch_unwind(AssertUnwindSafe(|| read(&input)));
        assert!(read.is_ok(), "{reader} panicked at {:?}", String::from_utf8_lossy(&input));
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn frames_of_socket_io_are_read_or_refused() {
    let message = r#"{"position":{"partition":3,"offset":42},"record":{"id":"m1","room":"r","sender":"user-1","body":"x\n","sent_at_ms":7},"replayed":true}"#;
    let frames = [
        r#"0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":100000}"#
            .to_owned(),
        r#"40{"sid":"b"}"#.to_owned(),
        r#"44{"message":"no"}"#.to_owned(),
        r#"4317[{"ok":{"room":"r","position":{"partition":7,"offset":42}}}]"#.to_owned(),
        r#"42["presence",{"room":"r","user":"u","online":true}]"#.to_owned(),
        format!(r#"42["message",{message}]"#),
        "2".to_owned(),
        "41".to_owned(),
    ];
    let frames: Vec<Vec<u8>> = frames.into_iter().map(String::into_bytes).collect();
    survives("the frame reader", &frames, INPUTS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = format!("{:?}", codec::read(&text));
    });
    survives("the message reader", &texts(&[message]), INPUTS, |bytes| {
        let _ = format!("{:?}", serde_json::from_slice::<Message<'_>>(bytes));
        let _ = format!("{:?}", serde_json::from_slice::<Send<'_>>(bytes));
    });
}

/// A running node, as its readers cannot be had without it: whatever it makes of the frames, it answers or ends the connection,
/// and lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_lives_through_damaged_frames() {
    const FRAMES_PER_SESSION: u32 = 50;
    const ANSWER_LIMIT: Duration = Duration::from_secs(2);
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let deployment = testbed::Deployment::up("damaged", &testbed::quiet(62, 1), out.path()).await;
    let cluster = &deployment.sut.cluster;
    let (address, pids) = (cluster.address(ProcessName::Node(1)).unwrap(), cluster.pids().await);
    let position = r#"{"partition":3,"offset":42}"#;
    let frames = [
        r#"4217["join",{"room":"r"}]"#.to_owned(),
        r#"4217["send",{"room":"r","id":"m1","body":"x\n"}]"#.to_owned(),
        format!(r#"4217["resume",{{"room":"r","position":{position}}}]"#),
        r#"4217["history",{"room":"r","before":42,"limit":50}]"#.to_owned(),
        r#"4217["presence",{"room":"r"}]"#.to_owned(),
        r#"42["typing",{"room":"r"}]"#.to_owned(),
        r#"4217["leave",{"room":"r"}]"#.to_owned(),
        r#"451-["send",{"_placeholder":true,"num":0}]"#.to_owned(),
        r#"40/other,{"user":"ann"}"#.to_owned(),
        "3".to_owned(),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(32);
    let (mut sessions, mut cut, mut silent) = (0, 0, 0);
    for _ in 0..INPUTS / FRAMES_PER_SESSION {
        let mut session = Session::connect(address, &json!({ "user": "ann" }), ANSWER_LIMIT).await.unwrap();
        sessions += 1;
        let sent = (0..FRAMES_PER_SESSION).try_for_each(|_| {
            let frame = damaged(frames[rng.random_range(0..frames.len())].as_bytes(), &mut rng);
            session.send_frame(WsMessage::text(String::from_utf8_lossy(&frame).into_owned()))
        });
        let last = sent.and_then(|()| session.emit("presence", &json!({ "room": "r" })));
        let end = async {
            loop {
                match session.next().await {
                    Ok(frame) => match frame.read() {
                        Ok(Incoming::Ack { id, .. }) if last.as_ref().is_ok_and(|last| *last == id) => {
                            return false;
                        }
                        _ => {}
                    },
                    Err(SessionError::Codec(_)) => {}
                    Err(_) => return true,
                }
            }
        };
        match tokio::time::timeout(ANSWER_LIMIT, end).await {
            Ok(is_cut) => cut += u32::from(is_cut),
            // Some frames mean goodbye to the namespace, after which there is nothing to answer.
            Err(_) => silent += 1,
        }
    }
    println!("{sessions} sessions: {cut} cut, {silent} silent");
    assert!(silent * 10 < sessions, "{silent} of {sessions} were neither answered nor ended");
    assert_eq!(cluster.pids().await, pids, "a process ended");
    let log = fs::read_to_string(out.path().join("logs/node-1.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    let mut session = Session::connect(address, &json!({ "user": "bob" }), ANSWER_LIMIT).await.unwrap();
    session.emit("join", &json!({ "room": "r" })).unwrap();
    tokio::time::timeout(ANSWER_LIMIT, session.next()).await.unwrap().unwrap();
    deployment.down().await;
}

#[test]
fn records_and_frames_of_the_bus_are_read_or_refused() {
    let record = r#"{"id":"m1","room":"r","sender":"user-1","body":"hello","sent_at_ms":7}"#;
    survives("the record reader", &texts(&[record]), INPUTS, |bytes| {
        if let Ok(record) = ChatRecord::read(bytes) {
            let _ = format!("{:?} {:?}", record.check(), record.identity());
        }
    });
    let frames = [
        format!(r#"{{"kind":"message","position":{{"partition":1,"offset":2}},"record":{record}}}"#),
        r#"{"kind":"beat","node":"node-1","beat":9,"high":[{"partition":1,"offset":2}]}"#.to_owned(),
        r#"{"kind":"presence","room":"r","user":"u","online":true}"#.to_owned(),
        format!(r#"{{"kind":"said","record":{record}}}"#),
    ];
    let frames: Vec<Vec<u8>> = frames.into_iter().map(String::into_bytes).collect();
    survives("the bus reader", &frames, INPUTS, |bytes| {
        let _ = format!("{:?}", serde_json::from_slice::<BusFrame>(bytes));
    });
}

#[test]
fn tokens_are_read_or_refused_and_no_damaged_one_is_taken() {
    let key = Key::new(&[7; token::KEY_MIN_BYTES]).unwrap();
    let claims = Claims { sub: "ann".into(), iss: "chat".into(), exp: 2_000_000_000 };
    let signed = key.sign(&claims);
    let keys = [key];
    survives("the token reader", &texts(&[&signed]), INPUTS, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(taken) = token::check(&text, &keys, "chat", 1_000_000_000) {
            // Base64 leaves bits of its last letter unused: another text may be the same token, never another claim.
            assert_eq!(taken, claims, "{text}");
        }
    });
}

#[test]
fn scenarios_are_planned_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let scenarios: Vec<Vec<u8>> = files.map(|path| fs::read(path).unwrap()).collect();
    survives("the scenario reader", &scenarios, INPUTS / 10, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Err(error) = Scenario::plan("damaged", "damaged.toml", &text, &testbed::choices(1)) {
            let _ = format!("{:?}", miette::Report::new(error));
        }
    });
}

/// Damaged within a frame whose checksum is right, as a bug of a recorder would leave it: numbers of users, rooms and faults
/// that the plan does not have, times that run backwards.
#[test]
fn histories_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let (recorder, writer) = HistoryWriter::create(&path, Clock::start()).unwrap();
    for what in events() {
        recorder.record(what);
    }
    drop(recorder);
    writer.finish().unwrap();
    let whole = fs::read(&path).unwrap();
    let header = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let plan: Plan = testbed::plan("postgres-outage", &testbed::choices(3));
    survives("the history reader", &[whole[header + 8..].to_vec()], HISTORIES, |bytes| {
        let mut file = whole[..header].to_vec();
        file.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        file.extend(crc32fast::hash(bytes).to_le_bytes());
        file.extend(bytes);
        fs::write(&path, file).unwrap();
        let _ = History::read(&plan, &path).map(|history| history.messages());
    });
}

fn events() -> Vec<EventKind> {
    let position = Position { partition: 3, offset: 42 };
    let (partition, offset) = (position.partition, position.offset);
    let process = || "writer-1".to_owned();
    vec![
        EventKind::Phase(Phase::Load),
        EventKind::Connected { user: 1, node: 0 },
        EventKind::Joined { user: 1, room: 2, partition, offset, resumed: true },
        EventKind::Sent { message: 5 },
        EventKind::Acked { message: 5, partition, offset },
        EventKind::Received { user: 1, message: 5, partition, offset, replayed: false },
        EventKind::Indeterminate { message: 6, why: Reason::Timeout },
        EventKind::NotSent { message: 7 },
        EventKind::Started { process: process(), pid: 77 },
        EventKind::Lifecycle {
            process: process(),
            event: Lifecycle::WriterWrote { records: 4, rows: 3, took_us: 9 },
        },
        EventKind::Sample { process: process(), rss_kib: 1, open_files: 2, threads: 3, cpu_ms: 4 },
        EventKind::Fault { fault: 0, step: FaultStep::Proved { evidence: "seen".into() } },
        EventKind::InKafka { message: 5, partition, offset, body_ok: true },
        EventKind::InPostgres { message: 5, partition, offset, body_ok: true },
        EventKind::LedgerRead { ledger: Ledger::Kafka, entries: 1 },
        EventKind::BadFrame { fault: 0, frame: "x".into(), treated: Reaction::Cut },
        EventKind::Poison { ledger: Ledger::Kafka, partition, offset, reason: "no".into() },
        EventKind::Lost { events: 3 },
        EventKind::Phase(Phase::Read),
    ]
}
