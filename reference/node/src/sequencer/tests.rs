use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn record(id: usize) -> Arc<ChatRecord> {
    let text = String::from("x");
    Arc::new(ChatRecord {
        id: format!("m{id}"),
        room: text.clone(),
        sender: text.clone(),
        body: text,
        sent_at_ms: 0,
    })
}

fn offsets(out: &[Delivery]) -> Vec<i64> {
    out.iter().map(|delivery| delivery.offset).collect()
}

#[test]
fn a_message_waits_for_its_predecessor_and_no_message_comes_twice() {
    let (now, mut out) = (Instant::now(), Vec::new());
    let mut sequencer = Sequencer::new(5);
    assert_eq!(sequencer.offer(6, record(6), Via::Bus, now, &mut out), Offered::Waiting);
    assert_eq!(sequencer.offer(6, record(6), Via::Bus, now, &mut out), Offered::Stale);
    assert_eq!(sequencer.offer(5, record(5), Via::Own, now, &mut out), Offered::Taken);
    assert_eq!(sequencer.offer(5, record(5), Via::Bus, now, &mut out), Offered::Stale);
    assert_eq!(sequencer.offer(4, record(4), Via::Bus, now, &mut out), Offered::Stale);
    assert_eq!(offsets(&out), [5, 6]);
}

#[test]
fn a_gap_is_reported_only_when_it_lasts() {
    let (start, mut out) = (Instant::now(), Vec::new());
    let mut sequencer = Sequencer::new(0);
    sequencer.offer(1, record(1), Via::Bus, start, &mut out);
    assert!(!sequencer.behind(start + GAP_PATIENCE));
    assert!(sequencer.behind(start + GAP_PATIENCE + Duration::from_millis(1)));
    sequencer.tail(0, Some(record(0)), start + GAP_PATIENCE, &mut out);
    assert!(!sequencer.behind(start + GAP_PATIENCE * 10));
    assert_eq!(offsets(&out), [0, 1]);
}

#[test]
fn a_steady_flow_with_something_always_under_way_is_not_behind() {
    let (start, mut out) = (Instant::now(), Vec::new());
    let mut sequencer = Sequencer::new(0);
    for offset in 0..100 {
        let now = start + Duration::from_millis(30 * u64::try_from(offset).unwrap());
        sequencer.exists_until(offset + 1, now);
        assert!(!sequencer.behind(now));
        sequencer.offer(offset, record(usize::try_from(offset).unwrap()), Via::Bus, now, &mut out);
    }
    assert_eq!(out.len(), 100);
}

#[test]
fn the_end_of_the_log_shows_a_message_that_never_came() {
    let start = Instant::now();
    let mut sequencer = Sequencer::new(7);
    sequencer.exists_until(8, start);
    assert!(sequencer.behind(start + GAP_PATIENCE * 2));
    sequencer.tail(7, None, start, &mut Vec::new());
    assert_eq!(sequencer.next(), 8);
    assert!(!sequencer.behind(start + GAP_PATIENCE * 2));
}

#[test]
fn too_many_waiting_messages_are_refused_and_then_read_from_kafka() {
    let (now, mut out) = (Instant::now(), Vec::new());
    let mut sequencer = Sequencer::new(0);
    let end = i64::try_from(REORDER_MESSAGES).unwrap() + 10;
    for offset in 1..end {
        sequencer.offer(offset, record(usize::try_from(offset).unwrap()), Via::Bus, now, &mut out);
    }
    assert!(sequencer.waiting.len() == REORDER_MESSAGES && out.is_empty());
    for offset in 0..end {
        sequencer.tail(offset, Some(record(usize::try_from(offset).unwrap())), now, &mut out);
    }
    assert_eq!(offsets(&out), (0..end).collect::<Vec<_>>());
}

/// What happens to a sequencer in the property below; indices choose a record of the log.
#[derive(Debug, Clone)]
enum Step {
    Offer(usize, bool),
    End(usize),
    /// Kafka is read from `next`, for at most so many records.
    Tail(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, own)| Step::Offer(at.index(64), own)),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::End(at.index(65))),
        2 => (0_usize..12).prop_map(Step::Tail),
    ]
}

proptest! {
    /// Whatever is offered, in any order, lost or repeated, and whenever Kafka is read: what was delivered is the log,
    /// in order, once, without the records that are no messages.
    #[test]
    fn any_interleaving_delivers_the_log(
        steps in prop::collection::vec(step(), 0..200),
        kinds in prop::collection::vec(0_u8..10, 64),
        holes in prop::collection::vec(prop::bool::weighted(0.1), 64),
    ) {
        // The log: some offsets do not exist, some records are unreadable.
        let mut log: Vec<(i64, Option<Arc<ChatRecord>>)> = Vec::new();
        for (at, kind) in kinds.iter().enumerate() {
            if holes[at] {
                continue;
            }
            let value = match kind {
                0 => None,
                _ => Some(record(at)),
            };
            log.push((i64::try_from(at).unwrap(), value));
        }
        let expected: Vec<i64> =
            log.iter().filter(|(_, value)| value.is_some()).map(|(offset, _)| *offset).collect();

        let (now, mut out) = (Instant::now(), Vec::new());
        let mut sequencer = Sequencer::new(0);
        let tail = |sequencer: &mut Sequencer, most: usize, out: &mut Vec<Delivery>| {
            let from = sequencer.next();
            for (offset, value) in log.iter().filter(|(offset, _)| *offset >= from).take(most) {
                sequencer.tail(*offset, value.clone(), now, out);
            }
        };
        for step in steps {
            match step {
                Step::Offer(at, own) => {
                    let found = log.iter().find(|(offset, _)| *offset == i64::try_from(at).unwrap());
                    if let Some((offset, Some(value))) = found {
                        let via = if own { Via::Own } else { Via::Bus };
                        sequencer.offer(*offset, Arc::clone(value), via, now, &mut out);
                    }
                }
                Step::End(end) => sequencer.exists_until(i64::try_from(end).unwrap(), now),
                Step::Tail(most) => tail(&mut sequencer, most, &mut out),
            }
            prop_assert!(expected.starts_with(&offsets(&out)));
        }
        tail(&mut sequencer, usize::MAX, &mut out);
        prop_assert_eq!(offsets(&out), expected);
    }
}
