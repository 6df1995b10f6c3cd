//! Carries out every verb but `send`, which has a room of its own.

use chat_protocol::{
    Position,
    bus::BusFrame,
    events::{Code, History, Join, Joined, Leave, Left, Members, Resume, Typing},
    limits::{ROOM_MAX_BYTES, ROOMS_PER_SOCKET_MAX},
};
use tokio::time::timeout;

use crate::{
    bugs::{Bug, wronged_range},
    kafka::reader::ReadError,
    room::{Behind, Straggler},
};

use super::{
    Session,
    answer::Answer,
    verb::{Asked, Verb},
};

/// A refusal before its answer: code and message.
type Refused = (Code, String);

/// The ack of `typing`.
#[derive(serde::Serialize)]
struct Nothing {}

impl Session {
    pub(super) async fn carry_out(&mut self, Asked { verb, answer, at }: Asked) {
        match verb {
            Verb::Send(send) => self.send(send, answer, at),
            Verb::Join(join) => {
                let room = join.room.clone();
                reply(answer, self.join(join).await);
                self.send_what_waited(&room);
            }
            Verb::Leave(Leave { room }) => {
                self.leave(&room);
                answer.ok(Left { room });
            }
            Verb::Resume(resume) => {
                let room = resume.room.clone();
                self.resume(resume, answer).await;
                self.send_what_waited(&room);
            }
            Verb::History(history) => self.history(history, answer),
            Verb::Typing(typing) => reply(answer, self.typing(typing)),
            Verb::Presence(Join { room }) => reply(answer, self.presence(room)),
        }
    }

    async fn join(&mut self, Join { room }: Join) -> Result<Joined, Refused> {
        self.may_enter(&room)?;
        if self.node.relay.is_some() {
            let (_, partition) = self.node.hub.home(&room);
            partition.enter(&room, self.socket.clone(), self.user.clone(), self.node.hub.ticket());
            self.entered(&room);
            return Ok(Joined { room, position: None });
        }
        self.wait_for_start().await?;
        let (_, partition) = self.node.hub.home(&room);
        let ticket = self.node.hub.ticket();
        let position = partition
            .join(&room, self.socket.clone(), self.user.clone(), ticket)
            .ok_or_else(|| unavailable("the end of the log is not known yet"))?;
        self.entered(&room);
        Ok(Joined { room, position: Some(position) })
    }

    async fn resume(&mut self, Resume { room, position }: Resume, answer: Answer) {
        if self.node.relay.is_some() {
            // The topology `relay` knows no positions: what was missed is gone.
            return reply(answer, self.join(Join { room }).await);
        }
        if self.node.bugs.has(Bug::NoResume) {
            let joined = self.join(Join { room }).await;
            if let Ok(Joined { position: Some(at), .. }) = &joined {
                wronged_range(Bug::NoResume, position.partition, position.offset, at.offset);
            }
            return reply(answer, joined);
        }
        if let Err((code, message)) = self.may_resume(&room, position).await {
            return answer.refuse(code, &message);
        }
        let (_, partition) = self.node.hub.home(&room);
        let ticket = self.node.hub.ticket();
        partition.resume(&room, self.socket.clone(), self.user.clone(), ticket);
        self.entered(&room);
        let joined = Joined { room: room.clone(), position: Some(position) };
        let straggler = Straggler {
            socket: self.socket.clone(),
            room,
            from: position,
            why: Behind::Resuming,
            ticket,
            since: std::time::Instant::now(),
        };
        let hub = self.node.hub.clone();
        // The ack goes first, also when it has to wait for room in the buffer; then what was missed.
        answer.ok_then(joined, move || hub.catch_up(straggler));
    }

    async fn may_resume(&self, room: &str, position: Position) -> Result<(), Refused> {
        self.may_enter(room)?;
        self.wait_for_start().await?;
        let (id, partition) = self.node.hub.home(room);
        if position.partition != id {
            return Err((Code::Invalid, format!("the room lives in partition {id}")));
        }
        if position.offset < 0 {
            return Err((Code::OutOfRange, "the position is before the log".to_owned()));
        }
        let next = partition.next().unwrap_or(0);
        if position.offset <= next && partition.remembers(position.offset) {
            return Ok(());
        }
        // Not in memory, or ahead of this node: the client may have heard from a node that is further.
        match self.node.hub.reader().extent(id).await {
            Ok(extent) if (extent.low..=extent.high.max(next)).contains(&position.offset) => Ok(()),
            Ok(extent) => {
                Err((Code::OutOfRange, format!("the log of the room is {} to {}", extent.low, extent.high)))
            }
            Err(ReadError::Busy) => Err((Code::Busy, ReadError::Busy.to_string())),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    fn history(&self, history: History, answer: Answer) {
        let Ok(permit) = self.node.histories.clone().try_acquire_owned() else {
            return answer.refuse(Code::Busy, "too many history queries are waiting");
        };
        if !self.rooms.contains(&history.room) {
            return answer.refuse(Code::NotMember, "join the room first");
        }
        let archive = self.node.archive.clone();
        // Beside the queue: a slow database must not hold up this client's sends.
        tokio::spawn(async move {
            match archive.page(&history).await {
                // A page is large, and may have to wait for its client: its place is taken until then.
                Ok(page) => answer.ok_then(page, move || drop(permit)),
                Err(error) => answer.refuse(Code::Unavailable, &error.to_string()),
            }
        });
    }

    fn typing(&self, Typing { room, .. }: Typing) -> Result<Nothing, Refused> {
        self.must_be_member(&room)?;
        self.node.bus.publish(BusFrame::Typing { room, user: self.user.to_string() });
        Ok(Nothing {})
    }

    fn presence(&self, room: String) -> Result<Members, Refused> {
        self.must_be_member(&room)?;
        let users = self.node.presence.users(&room);
        Ok(Members { room, users })
    }

    fn must_be_member(&self, room: &str) -> Result<(), Refused> {
        if self.rooms.contains(room) {
            Ok(())
        } else {
            Err((Code::NotMember, "join the room first".to_owned()))
        }
    }

    fn may_enter(&self, room: &str) -> Result<(), Refused> {
        if self.node.health.draining() {
            return Err((Code::Draining, "this node is draining; connect to another one".to_owned()));
        }
        if room.is_empty() || room.len() > ROOM_MAX_BYTES || room.contains('\0') {
            return Err((
                Code::Invalid,
                format!("the room must be 1 to {ROOM_MAX_BYTES} bytes, without U+0000"),
            ));
        }
        if self.rooms.len() >= ROOMS_PER_SOCKET_MAX && !self.rooms.contains(room) {
            return Err((Code::Busy, format!("a socket may be in {ROOMS_PER_SOCKET_MAX} rooms")));
        }
        Ok(())
    }

    /// Positions can be given out only when the ends of the log are known.
    async fn wait_for_start(&self) -> Result<(), Refused> {
        let mut started = self.node.hub.started();
        let known = timeout(self.node.config.ack_timeout(), started.wait_for(|started| *started)).await;
        match known {
            Ok(Ok(_)) => Ok(()),
            _ => Err(unavailable("Kafka has not said yet where the log ends")),
        }
    }
}

fn reply<T: serde::Serialize + Send + Sync + 'static>(answer: Answer, outcome: Result<T, Refused>) {
    match outcome {
        Ok(value) => answer.ok(value),
        Err((code, message)) => answer.refuse(code, &message),
    }
}

fn unavailable(message: &str) -> Refused {
    (Code::Unavailable, message.to_owned())
}
