//! The rooms of one user: which are entered, from where to resume, and when to ask again.

use std::time::Instant;

use chat_protocol::Position;

use crate::plan::Plan;

/// A room, as one user knows it.
#[derive(Debug)]
pub(super) struct Room {
    /// Its number in the plan.
    pub(super) index: u32,
    pub(super) name: String,
    /// First position not yet seen; `None` until it was entered once, and for ever where no positions are given out. It
    /// outlives sessions: it is what `resume` gives.
    pub(super) next: Option<Position>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not entered in this session; ask at this instant.
    Out(Instant),
    /// Asked, no answer yet.
    Asked,
    In,
}

impl Room {
    pub(super) fn is_in(&self) -> bool {
        self.state == State::In
    }

    /// The room was asked for.
    pub(super) fn asked(&mut self) {
        self.state = State::Asked;
    }

    /// The room was entered, and everything from `position` will come, if there is one.
    pub(super) fn entered(&mut self, position: Option<Position>) {
        self.state = State::In;
        // Messages may have overtaken the ack.
        self.next = self.next.or(position);
    }

    /// The room was not to be had.
    pub(super) fn ask_again_at(&mut self, at: Instant) {
        self.state = State::Out(at);
    }

    /// The room was left for good.
    pub(super) fn left(&mut self) {
        self.state = State::Asked;
    }

    /// A message at `position` was received.
    pub(super) fn received(&mut self, position: Position) {
        let after = Position { offset: position.offset + 1, ..position };
        // A repetition does not move the position back: that would ask for more repetitions.
        if self.next.is_none_or(|next| next.partition != after.partition || next.offset < after.offset) {
            self.next = Some(after);
        }
    }
}

/// All rooms of one user; few, so they are searched and not hashed.
#[derive(Debug)]
pub(super) struct Rooms {
    list: Vec<Room>,
}

impl Rooms {
    pub(super) fn of(plan: &Plan, user: u32, now: Instant) -> Self {
        let room = |index| Room { index, name: plan.room_name(index), next: None, state: State::Out(now) };
        Self { list: plan.rooms_of(user).map(room).collect() }
    }

    /// A new session begins: every room is to be entered (again), at once.
    pub(super) fn start_over(&mut self, now: Instant) {
        self.list.iter_mut().for_each(|room| room.state = State::Out(now));
    }

    pub(super) fn slot(&mut self, slot: usize) -> Option<&mut Room> {
        self.list.get_mut(slot)
    }

    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        0..self.list.len()
    }

    pub(super) fn by_name(&mut self, name: &str) -> Option<&mut Room> {
        self.list.iter_mut().find(|room| room.name == name)
    }

    pub(super) fn by_index(&self, index: u32) -> Option<&Room> {
        self.list.iter().find(|room| room.index == index)
    }

    pub(super) fn all_in(&self) -> bool {
        self.list.iter().all(Room::is_in)
    }

    /// A room that is to be asked for by now.
    pub(super) fn due(&self, now: Instant) -> Option<usize> {
        self.list.iter().position(|room| matches!(room.state, State::Out(at) if at <= now))
    }

    /// When the next room is to be asked for.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let outs = self.list.iter().filter_map(|room| match room.state {
            State::Out(at) => Some(at),
            _ => None,
        });
        outs.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::plan;

    fn at(offset: i64) -> Position {
        Position { partition: 3, offset }
    }

    #[test]
    fn the_resume_position_is_after_the_last_message_and_never_moves_back() {
        let mut rooms = Rooms::of(&plan(1, 1, 1.0, 1_000), 0, Instant::now());
        let room = rooms.slot(0).unwrap();
        room.entered(Some(at(10)));
        assert_eq!(room.next, Some(at(10)), "nothing received: resume where it was entered");
        room.received(at(12));
        room.received(at(11));
        assert_eq!(room.next, Some(at(13)));
        room.entered(Some(at(13)));
        assert_eq!(room.next, Some(at(13)));
    }

    #[test]
    fn where_no_positions_are_given_out_every_session_joins_anew() {
        let mut rooms = Rooms::of(&plan(1, 1, 1.0, 1_000), 0, Instant::now());
        rooms.slot(0).unwrap().entered(None);
        rooms.start_over(Instant::now());
        let room = rooms.slot(0).unwrap();
        assert!(!room.is_in() && room.next.is_none());
    }

    #[test]
    fn a_message_that_overtakes_the_ack_keeps_its_position() {
        let mut rooms = Rooms::of(&plan(1, 1, 1.0, 1_000), 0, Instant::now());
        let room = rooms.slot(0).unwrap();
        room.asked();
        room.received(at(10));
        room.entered(Some(at(10)));
        assert_eq!(room.next, Some(at(11)));
    }
}
