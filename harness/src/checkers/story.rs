//! A message's whole life, in order, with times: what its sender was told, where it was stored, who saw it, and which
//! faults were in force meanwhile. `squall explain RUN ID` prints it; details of findings carry the one-line form.

use serde::{Deserialize, Serialize};

use crate::{
    checkers::{Case, expected_deliveries::Due},
    history::{Fate, Ledger, index::UserEvent},
};

/// One line of a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// When, on the run's clock; none for what was found in the final reads.
    pub at_us: Option<u64>,
    /// What, for people.
    pub text: String,
}

/// A message with its story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Story {
    /// Which.
    pub message: u32,
    /// Id, sender, room.
    pub name: String,
    /// In order of time; the final reads last.
    pub lines: Vec<Line>,
}

/// Whose it was to bring a message to a member who missed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Live delivery's: the member was in the room when it was acked, and stayed until after it should have come.
    Live,
    /// Resume's: the member was away then, or went before anything that was said later reached them.
    Resume,
}

/// Members who should have a message and do not.
pub fn missing(case: &Case<'_>, message: u32) -> Vec<(u32, Missed)> {
    let history = case.history;
    let (true, Some(placement), Some(arrival)) =
        (case.owed_to_members(message), case.placement(message), case.arrival(message))
    else {
        return Vec::new();
    };
    let mut have: Vec<u32> = history.receipts_of(message).map(|receipt| receipt.user).collect();
    have.sort_unstable();
    let mut missing = Vec::new();
    case.expected.each(arrival.room, placement, |user, due| {
        if due == Due::Owed && have.binary_search(&user).is_err() {
            missing.push((user, whose(case, message, arrival.room, user)));
        }
    });
    missing
}

/// Whose it was to bring a message to a member of its room.
fn whose(case: &Case<'_>, message: u32, room: u32, user: u32) -> Missed {
    let history = case.history;
    let outcome = history.outcome(message);
    let (sent_us, acked_us) = (outcome.sent_us().unwrap_or(0), outcome.acked_us().unwrap_or(u64::MAX));
    let mut in_room = false;
    let mut went_us = u64::MAX;
    for step in history.steps_of(user) {
        let (before, ends) = (step.at_us <= acked_us, matches!(step.what, UserEvent::Disconnected { .. }));
        match step.what {
            UserEvent::Connected { .. } | UserEvent::Disconnected { .. } if before => in_room = false,
            UserEvent::Joined { room: of, .. } if before && of == room => in_room = true,
            _ if ends && !before => {
                went_us = step.at_us;
                break;
            }
            _ => {}
        }
    }
    if !in_room {
        return Missed::Resume;
    }
    // Something said later reached them in the same session: the message was passed over there and then.
    let passed_over =
        history.received_since(user, sent_us).take_while(|receipt| receipt.at_us < went_us).any(|receipt| {
            let later = match (receipt.place(), case.place(message)) {
                (Some(here), Some(there)) => here.0 == there.0 && here.1 > there.1,
                _ => history.outcome(receipt.message).sent_us().is_some_and(|later_us| later_us > acked_us),
            };
            later && case.arrival(receipt.message).is_some_and(|arrival| arrival.room == room)
        });
    // Who stayed to the end was to get it live, even if nothing else was said.
    let at_rest_us = history.at_rest_us();
    if passed_over || went_us >= at_rest_us { Missed::Live } else { Missed::Resume }
}

/// A message's fate in one line.
pub fn line(case: &Case<'_>, message: u32) -> String {
    let history = case.history;
    let outcome = history.outcome(message);
    let places = |entries: Vec<(i32, i64)>| match entries.as_slice() {
        [] => "none".to_owned(),
        places => {
            let shown: Vec<_> =
                places.iter().take(4).map(|(partition, offset)| format!("{partition}/{offset}")).collect();
            shown.join(" ")
        }
    };
    let kafka = places(history.in_kafka(message).map(|entry| (entry.partition, entry.offset)).collect());
    let rows = places(history.in_postgres(message).map(|entry| (entry.partition, entry.offset)).collect());
    let dead = if history.in_dead_letters(message).len() > 0 { ", dead-lettered" } else { "" };
    let missing: Vec<_> =
        missing(case, message).into_iter().map(|(user, _)| case.plan.user_name(user)).collect();
    let unseen = match missing.as_slice() {
        [] => String::new(),
        few if few.len() <= 3 => format!(", missing at {}", few.join(" ")),
        [first, rest @ ..] => format!(", missing at {first} and {} others", rest.len()),
    };
    format!(
        "{}: {}; Kafka {kafka}; rows {rows}{dead}; {} receipts{unseen}",
        case.name(message),
        fate(case, message, outcome.fate()),
        history.receipts_of(message).count(),
    )
}

fn fate(case: &Case<'_>, message: u32, fate: Fate) -> String {
    let outcome = case.history.outcome(message);
    let at = outcome.fate_us().map(|at_us| format!(" at {}", case.at(at_us))).unwrap_or_default();
    match fate {
        Fate::Unseen => "never came up".to_owned(),
        Fate::NotSent => format!("not sent{at} ({})", why_not_sent(case, message)),
        Fate::Unanswered => "sent, no answer".to_owned(),
        Fate::Acked => match outcome.acked_at() {
            Some((partition, offset)) => format!("acked{at} as {partition}/{offset}"),
            None => format!("acked{at}"),
        },
        Fate::Refused(code) => format!("refused{at} ({code:?})"),
        Fate::Indeterminate(why) => format!("fate open{at} ({why:?})"),
    }
}

/// Why a message never left: by where its user was, as far as the history shows it.
fn why_not_sent(case: &Case<'_>, message: u32) -> &'static str {
    let (Some(arrival), Some(at_us)) = (case.arrival(message), case.history.outcome(message).fate_us())
    else {
        return "it is not in the schedule";
    };
    let (mut in_session, mut in_room) = (false, false);
    for step in case.history.steps_of(arrival.user).filter(|step| step.at_us <= at_us) {
        match step.what {
            UserEvent::Connected { .. } => (in_session, in_room) = (true, false),
            UserEvent::Disconnected { .. } => (in_session, in_room) = (false, false),
            UserEvent::Joined { room, .. } if room == arrival.room => in_room = true,
            UserEvent::Left { room } if room == arrival.room => in_room = false,
            _ => {}
        }
    }
    match (in_session, in_room) {
        (false, _) => "its user had no session",
        (true, false) => "its user had a session and was not in the room",
        (true, true) => {
            "its user was in the room: the socket took no more, or the generator did not get to it"
        }
    }
}

/// A message's life, line by line.
pub fn story(case: &Case<'_>, message: u32) -> Story {
    let history = case.history;
    let outcome = history.outcome(message);
    let mut lines: Vec<(u64, String)> = Vec::new();
    let node = case.arrival(message).and_then(|arrival| {
        let before = outcome.sent_us().or(case.due_us(message))?;
        let steps = history.steps_of(arrival.user).filter(|step| step.at_us <= before);
        steps
            .filter_map(
                |step| if let UserEvent::Connected { node } = step.what { Some(node + 1) } else { None },
            )
            .last()
    });
    if let Some(due_us) = case.due_us(message) {
        lines.push((due_us, "due by the schedule".to_owned()));
    }
    if let Some(sent_us) = outcome.sent_us() {
        let to = node.map(|node| format!(" to node-{node}")).unwrap_or_default();
        lines.push((sent_us, format!("handed to the sender's socket{to}")));
    }
    if let Some(fate_us) = outcome.fate_us() {
        lines.push((fate_us, format!("the sender knows: {}", fate(case, message, outcome.fate()))));
    }
    for receipt in history.receipts_of(message) {
        let how = if receipt.replayed { "by catch-up" } else { "live" };
        let user = case.plan.user_name(receipt.user);
        lines.push((
            receipt.at_us,
            match receipt.place() {
                Some((partition, offset)) => format!("{user} received it {how} as {partition}/{offset}"),
                None => format!("{user} received it {how}"),
            },
        ));
    }
    // Faults from just before it was due until its last trace.
    let from = lines.iter().map(|(at_us, _)| *at_us).min().unwrap_or(0).saturating_sub(1_000_000);
    let to = lines.iter().map(|(at_us, _)| *at_us).max().unwrap_or(0);
    for window in &case.windows {
        let (Some(began), ended) = (window.began_us(), window.ended_us().unwrap_or(u64::MAX)) else {
            continue;
        };
        if began <= to && ended >= from {
            lines.push((began, format!("fault: {}", window.name)));
            if let Some((healed_us, _)) = window.healed {
                lines.push((healed_us, format!("healed: {}", window.name)));
            }
        }
    }
    lines.sort_by_key(|(at_us, _)| *at_us);
    let mut lines: Vec<Line> =
        lines.into_iter().map(|(at_us, text)| Line { at_us: Some(at_us), text }).collect();
    lines.extend(found(case, message).into_iter().map(|text| Line { at_us: None, text }));
    Story { message, name: case.name(message), lines }
}

/// What the final reads say about a message.
fn found(case: &Case<'_>, message: u32) -> Vec<String> {
    let history = case.history;
    let body = |ok: bool| if ok { "" } else { ", with another body" };
    let mut lines = Vec::new();
    for entry in history.in_kafka(message) {
        lines.push(format!("Kafka holds it at {}/{}{}", entry.partition, entry.offset, body(entry.body_ok)));
    }
    for entry in history.in_postgres(message) {
        lines.push(format!(
            "a row holds it, from {}/{}{}",
            entry.partition,
            entry.offset,
            body(entry.body_ok)
        ));
    }
    lines.extend(history.in_dead_letters(message).map(|reason| format!("dead-lettered: {reason}")));
    let unread = |ledger| case.unread(ledger);
    if history.in_kafka(message).len() == 0 {
        lines.push(unread(Ledger::Kafka).unwrap_or_else(|| "not in Kafka".to_owned()));
    }
    if history.in_postgres(message).len() == 0 {
        lines.push(unread(Ledger::Postgres).unwrap_or_else(|| "no row in PostgreSQL".to_owned()));
    }
    for (user, missed) in missing(case, message) {
        let whose = match missed {
            Missed::Live => "in the room when it was acked",
            Missed::Resume => "away, or on the way back, when it was acked",
        };
        lines.push(format!("{} never received it ({whose})", case.plan.user_name(user)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::{line, story};
    use crate::{checkers::fixture::Run, history::EventKind};

    /// Message 5 is due at 0.5 s, from user 1.
    fn unsent() -> Run {
        let of = |what: &EventKind| {
            matches!(
                what,
                EventKind::Acked { message: 5, .. }
                    | EventKind::Received { message: 5, .. }
                    | EventKind::InKafka { message: 5, .. }
            ) || matches!(what, EventKind::InPostgres { message: 5, .. })
        };
        Run::clean(10).without(of).mapped(|what| match what {
            EventKind::Sent { message: 5 } => EventKind::NotSent { message: 5 },
            other => other,
        })
    }

    #[test]
    fn a_message_that_never_left_says_where_its_user_was() {
        let gone = || EventKind::Disconnected { user: 1, node: 1, why: "reset".into() };
        let back = || EventKind::Connected { user: 1, node: 0 };
        let joined = |user, room| EventKind::Joined { user, room, partition: 0, offset: 3, resumed: true };
        let left = EventKind::Left { user: 1, room: 0 };
        let no_session = "(its user had no session)";
        let outside = "(its user had a session and was not in the room)";
        let inside =
            "(its user was in the room: the socket took no more, or the generator did not get to it)";
        for (name, run, expected) in [
            ("gone", unsent().at_ms(300, gone()), no_session),
            ("on the way back", unsent().at_ms(300, gone()).at_ms(400, back()), outside),
            (
                "back in another room, and another user in this one",
                unsent()
                    .at_ms(300, gone())
                    .at_ms(400, back())
                    .at_ms(450, joined(1, 1))
                    .at_ms(450, joined(2, 0)),
                outside,
            ),
            ("left", unsent().at_ms(400, left), outside),
            ("back", unsent().at_ms(300, gone()).at_ms(400, back()).at_ms(450, joined(1, 0)), inside),
            ("never away", unsent(), inside),
            ("gone later, as for a socket that took no more", unsent().at_ms(501, gone()), inside),
        ] {
            let history = run.history();
            let case = run.case(&history);
            let told = line(&case, 5);
            assert!(told.contains("not sent at 0.500 s") && told.contains(expected), "{name}: {told}");
            let lines = story(&case, 5).lines;
            assert!(lines.iter().any(|line| line.text.contains(expected)), "{name}: {lines:#?}");
        }
    }
}
