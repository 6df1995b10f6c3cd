//! A session against a scripted server: each test plays the server's lines and looks at what the client makes of them.

use chat_protocol::events::Auth;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;

use super::*;

const OPEN: &str =
    r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":60,"pingTimeout":40,"maxPayload":1000}"#;
const LIMIT: Duration = Duration::from_secs(5);

struct Server(WebSocketStream<TcpStream>);

impl Server {
    async fn say(&mut self, line: &str) {
        self.0.send(WsMessage::text(line)).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        self.0.next().await.unwrap().unwrap().into_text().unwrap().as_str().to_owned()
    }
}

/// A server that answers the CONNECT with `answer`, and what the client got.
async fn session(answer: &str) -> (Server, Result<Session, SessionError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = async {
        let mut server = Server(accept_async(listener.accept().await.unwrap().0).await.unwrap());
        server.say(OPEN).await;
        assert_eq!(server.hear().await, r#"40{"user":"ann"}"#);
        server.say(answer).await;
        server
    };
    let auth = Auth::Name { user: "ann".into() };
    tokio::join!(server, Session::connect(address, &auth, LIMIT))
}

const WELCOME: &str = r#"40{"sid":"BBBBBBBBBBBBBBBB"}"#;

#[tokio::test]
async fn events_carry_ack_ids_that_count_up_and_heartbeats_are_answered_unseen() {
    let (mut server, session) = session(WELCOME).await;
    let mut session = session.unwrap();
    assert_eq!(session.emit("typing", &"a").unwrap(), 0);
    assert_eq!(session.emit("typing", &"b").unwrap(), 1);
    assert_eq!(server.hear().await, r#"420["typing","a"]"#);
    assert_eq!(server.hear().await, r#"421["typing","b"]"#);
    server.say("2").await;
    server.say(r#"431[{"ok":{}}]"#).await;
    let frame = session.next().await.unwrap();
    assert!(matches!(frame.read().unwrap(), Incoming::Ack { id: 1, .. }), "{frame:?}");
    assert_eq!(server.hear().await, "3");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let (_server, session) = session(r#"44{"message":"no such namespace"}"#).await;
    assert!(matches!(session, Err(SessionError::Refused(why)) if why == "no such namespace"));
}

#[tokio::test]
async fn silence_counts_from_the_last_thing_heard() {
    let (mut server, session) = session(WELCOME).await;
    let mut session = session.unwrap();
    let first = session.silent_at().unwrap();
    assert!(first <= Instant::now() + Duration::from_millis(100));
    server.say("2").await;
    server.say(r#"42["presence",{}]"#).await;
    session.next().await.unwrap();
    assert!(session.silent_at().unwrap() > first);
}

#[tokio::test]
async fn the_ends_of_a_session_are_told_apart() {
    let (mut server, client) = session(WELCOME).await;
    server.0.close(Some(CloseFrame { code: 1012.into(), reason: "restart".into() })).await.unwrap();
    let error = client.unwrap().next().await.unwrap_err();
    assert_eq!(error.to_string(), "closed by the server: 1012 restart");

    let (server, client) = session(WELCOME).await;
    drop(server);
    assert!(matches!(
        client.unwrap().next().await,
        Err(SessionError::Transport(_) | SessionError::Closed { .. })
    ));
}

#[tokio::test]
async fn a_goodbye_leaves_the_namespace_and_closes() {
    let (mut server, client) = session(WELCOME).await;
    let heard = async {
        assert_eq!(server.hear().await, "41");
        assert!(matches!(server.0.next().await, Some(Ok(WsMessage::Close(_)))));
    };
    tokio::join!(client.unwrap().goodbye(), heard);
}

#[tokio::test]
async fn a_server_that_does_not_read_stalls_the_session_and_not_the_client() {
    let (_server, session) = session(WELCOME).await;
    let mut session = session.unwrap();
    let big = "x".repeat(100_000);
    let stalled = (0..200).find_map(|_| session.emit("send", &big).err());
    assert!(matches!(stalled, Some(SessionError::Stalled)), "{stalled:?}");
}

#[tokio::test]
async fn a_node_that_takes_the_connection_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent =
        Session::connect(address, &Auth::Name { user: "ann".into() }, Duration::from_millis(50)).await;
    assert!(matches!(silent, Err(SessionError::Slow(50))));
}
