//! A message's whole life, in order, with times: what its sender was told, where it was stored, who saw it, and which
//! faults were in force meanwhile. `squall explain RUN ID` prints it; details of findings carry the one-line form.

use serde::{Deserialize, Serialize};

use crate::{
    checkers::{Case, debts::Owing},
    history::{Fate, Ledger, index::UserDid},
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

/// Members who should have a message and do not: who, and whether they were in a session when it was acked.
pub fn missing(case: &Case<'_>, message: u32) -> Vec<(u32, bool)> {
    let history = case.history;
    let (Some(acked_us), Some(said), Some(arrival)) =
        (history.life(message).acked_us(), case.said(message), case.arrival(message))
    else {
        return Vec::new();
    };
    let mut missing = Vec::new();
    case.debts.each(arrival.room, said, |user, owing| {
        if owing == Owing::Owed && !history.receipts_of(message).any(|receipt| receipt.user == user) {
            missing.push((user, in_session(case, user, acked_us)));
        }
    });
    missing
}

/// True when the user had a session at that time.
fn in_session(case: &Case<'_>, user: u32, at_us: u64) -> bool {
    let before = case.history.steps_of(user).filter(|step| step.at_us <= at_us);
    let last = before
        .filter(|step| matches!(step.what, UserDid::Connected { .. } | UserDid::Disconnected { .. }))
        .last();
    last.is_some_and(|step| matches!(step.what, UserDid::Connected { .. }))
}

/// A message's fate in one line.
pub fn line(case: &Case<'_>, message: u32) -> String {
    let history = case.history;
    let life = history.life(message);
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
        fate(case, message, life.fate()),
        history.receipts_of(message).count(),
    )
}

fn fate(case: &Case<'_>, message: u32, fate: Fate) -> String {
    let life = case.history.life(message);
    let at = life.fate_us().map(|at_us| format!(" at {}", case.at(at_us))).unwrap_or_default();
    match fate {
        Fate::Unseen => "never came up".to_owned(),
        Fate::NotSent => "not sent (no session)".to_owned(),
        Fate::Unanswered => "sent, no answer".to_owned(),
        Fate::Acked => match life.acked_at() {
            Some((partition, offset)) => format!("acked{at} as {partition}/{offset}"),
            None => format!("acked{at}"),
        },
        Fate::Refused(code) => format!("refused{at} ({code:?})"),
        Fate::Indeterminate(why) => format!("fate open{at} ({why:?})"),
    }
}

/// A message's life, line by line.
pub fn story(case: &Case<'_>, message: u32) -> Story {
    let history = case.history;
    let life = history.life(message);
    let mut lines: Vec<(u64, String)> = Vec::new();
    let node = case.arrival(message).and_then(|arrival| {
        let before = life.sent_us().or(case.due_us(message))?;
        let steps = history.steps_of(arrival.user).filter(|step| step.at_us <= before);
        steps
            .filter_map(
                |step| if let UserDid::Connected { node } = step.what { Some(node + 1) } else { None },
            )
            .last()
    });
    if let Some(due_us) = case.due_us(message) {
        lines.push((due_us, "due by the schedule".to_owned()));
    }
    if let Some(sent_us) = life.sent_us() {
        let to = node.map(|node| format!(" to node-{node}")).unwrap_or_default();
        lines.push((sent_us, format!("handed to the sender's socket{to}")));
    }
    if let Some(fate_us) = life.fate_us() {
        lines.push((fate_us, format!("the sender knows: {}", fate(case, message, life.fate()))));
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
    for (user, was_there) in missing(case, message) {
        let session = if was_there { "in a session when it was acked" } else { "away when it was acked" };
        lines.push(format!("{} never received it ({session})", case.plan.user_name(user)));
    }
    lines
}
