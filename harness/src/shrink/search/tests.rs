use super::*;
use crate::{
    plan::{FaultKind, Service},
    scenario::{Choices, Scenario},
};

/// PostgreSQL and Redis stop, one after the other.
fn plan() -> Plan {
    let text = "title = \"t\"\n[load]\nusers = 16\nrooms = 4\nrate_per_s = 100\nduration_s = 20\n\
                [[fault]]\nkind = \"service-stop\"\nservice = \"postgres\"\nat_s = 4\nfor_s = 4\n\
                [[fault]]\nkind = \"service-stop\"\nservice = \"redis\"\nat_s = 10\nfor_s = 4\n";
    Scenario::plan("t", "t", text, &Choices { seed: 3, ..Choices::default() }).unwrap()
}

fn redis_stops(plan: &Plan) -> bool {
    plan.faults.iter().any(|fault| matches!(fault.fault, FaultKind::ServiceStop { service: Service::Redis }))
}

/// Carries a search out on a cluster that fails by rule. Gives what was found and what was said on the way.
fn searched(times: u32, runs_max: u32, mut run: impl FnMut(&Plan, u32) -> Ended) -> (Found, Vec<String>) {
    let mut search = Search::new(plan(), Limits { times, runs_max });
    let (mut said, mut nth) = (Vec::new(), 0);
    while let Some(plan) = search.next_run() {
        let ended = run(plan, nth);
        nth += 1;
        said.extend(search.doing());
        said.extend(search.tell(ended));
        assert!(nth <= runs_max, "more runs than are allowed");
    }
    (search.found(), said)
}

fn smallest(found: Found) -> Smallest {
    match found {
        Found::Smallest(smallest) => *smallest,
        Found::Nothing { runs } => panic!("nothing found: {runs}"),
    }
}

#[test]
fn a_run_counts_by_the_claims_that_the_original_violated() {
    let claims = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let culprits = claims(&["durability", "liveness"]);
    for (violated, unknown, expected) in [
        (&["durability"][..], &[][..], Ended::Violated),
        (&["order", "liveness"], &["durability", "validity"], Ended::Violated),
        (&[], &[], Ended::Held),
        (&[], &["recovery"], Ended::Held),
        (&["order"], &[], Ended::Otherwise),
        (&[], &["durability"], Ended::Unknown),
        (&["order"], &["durability"], Ended::Unknown),
        (&[], &["validity"], Ended::Unknown),
        (&["order"], &["faults"], Ended::Unknown),
    ] {
        let ended = Ended::of(&culprits, &claims(violated), &claims(unknown));
        assert_eq!(ended, expected, "{violated:?} violated, {unknown:?} unknown");
    }
}

#[test]
fn an_original_that_does_not_fail_again_is_not_shrunk() {
    let (found, said) = searched(3, 60, |_, _| Ended::Held);
    assert_eq!(found, Found::Nothing { runs: Tally { held: 3, ..Tally::default() } });
    assert!(
        found.to_string().contains("did not fail again in 3 runs (3 held): nothing to shrink"),
        "{found}"
    );
    assert!(!said.iter().any(|line| line.contains("trying")), "{said:#?}");

    let (found, _) = searched(3, 2, |_, nth| if nth == 0 { Ended::Otherwise } else { Ended::Unknown });
    let text = found.to_string();
    assert!(text.contains("did not fail again in 2 runs (1 violated something else, 1 unknown)"), "{text}");
}

#[test]
fn an_original_that_cannot_be_judged_again_is_said_to_be_so() {
    let (found, _) = searched(3, 60, |_, nth| if nth == 1 { Ended::Unknown } else { Ended::NoVerdict });
    let text = found.to_string();
    assert!(text.contains("none of 3 runs of the original could be judged"), "{text}");
    assert!(text.contains("(1 unknown, 2 without a verdict)"), "{text}");
    assert!(!text.contains("smallest") && !text.contains("did not fail"), "{text}");
}

#[test]
fn the_smallest_plan_is_named_with_how_often_it_fails() {
    let (found, said) =
        searched(3, 1_000, |plan, _| if redis_stops(plan) { Ended::Violated } else { Ended::Held });
    let text = found.to_string();
    let found = smallest(found);
    assert!(found.plan.faults.len() == 1 && redis_stops(&found.plan), "{:?}", found.plan);
    assert!(!found.unchanged && !found.cut_short && found.undecided == 0, "{found:?}");
    assert_eq!(found.measured, Tally { violated: 3, ..Tally::default() });
    assert!(text.starts_with("the smallest plan found that still fails: 1 faults (redis stopped)"), "{text}");
    assert!(text.contains("it failed in 3 of 3 judged runs (3 violated)"), "{text}");
    assert!(!text.contains("--runs-max") && !text.contains("could be judged:"), "{text}");
    assert!(said.iter().any(|line| line == "  passes (3 held)"), "{said:#?}");
}

#[test]
fn a_candidate_without_a_judged_run_neither_passes_nor_is_taken() {
    // Only the original can be judged.
    let original = plan();
    let mut unjudged = [Ended::Unknown, Ended::NoVerdict].into_iter().cycle();
    let (found, said) =
        searched(
            2,
            1_000,
            |plan, _| if *plan == original { Ended::Violated } else { unjudged.next().unwrap() },
        );
    let text = found.to_string();
    let found = smallest(found);
    assert!(found.unchanged && found.plan == original);
    assert_eq!(found.undecided as usize, candidates(&original).len());
    assert!(said.iter().any(|line| line == "  cannot tell (1 unknown, 1 without a verdict)"), "{said:#?}");
    assert!(!said.iter().any(|line| line.contains("passes")), "{said:#?}");
    assert!(text.contains(&format!("no run could be judged: {}", found.undecided)), "{text}");
    assert!(text.contains("(the original; nothing smaller that was tried failed)"), "{text}");
}

#[test]
fn a_candidate_with_one_judged_run_among_others_passes() {
    let original = plan();
    let (found, said) = searched(2, 1_000, |plan, nth| match nth {
        _ if *plan == original => Ended::Violated,
        nth if nth % 2 == 0 => Ended::Held,
        _ => Ended::NoVerdict,
    });
    assert_eq!(smallest(found).undecided, 0);
    assert!(said.iter().any(|line| line == "  passes (1 held, 1 without a verdict)"), "{said:#?}");
}

#[test]
fn runs_that_say_nothing_are_no_part_of_how_often_it_fails() {
    let ends = [Ended::Violated, Ended::Held, Ended::Unknown, Ended::NoVerdict, Ended::Otherwise];
    let measuring = |ends: &'static [Ended]| {
        let original = plan();
        let mut ends = ends.iter().copied();
        let mut first = true;
        let (found, _) = searched(5, 1_000, move |plan, _| match *plan == original {
            true if std::mem::take(&mut first) => Ended::Violated,
            true => ends.next().unwrap(),
            false => Ended::Held,
        });
        found.to_string()
    };
    let text = measuring(ends.to_vec().leak());
    assert!(
        text.contains("it failed in 1 of 3 judged runs (1 violated, 1 violated something else, 1 held"),
        "{text}"
    );
    assert!(text.contains("1 unknown, 1 without a verdict)"), "{text}");

    let text = measuring(&[Ended::Held; 5]);
    assert!(!text.contains("still fails") && text.contains("that failed in the search"), "{text}");
    assert!(text.contains("failed in none of 5 judged runs (5 held); in the search: 1 violated"), "{text}");

    let text = measuring(&[Ended::Unknown; 5]);
    assert!(!text.contains("still fails"), "{text}");
    assert!(
        text.contains("none of 5 more runs could be judged (5 unknown); in the search: 1 violated"),
        "{text}"
    );
}

#[test]
fn a_search_that_runs_out_of_runs_says_so_and_keeps_some_to_measure() {
    let fails = |plan: &Plan, _| if redis_stops(plan) { Ended::Violated } else { Ended::Held };
    let (found, _) = searched(3, 8, fails);
    let text = found.to_string();
    let found = smallest(found);
    assert!(found.cut_short && found.measured.runs() == 3, "{found:?}");
    assert!(text.contains("ended by --runs-max: there may be a smaller plan"), "{text}");
    assert!(text.ends_with("8 runs in all"), "{text}");

    // In the middle of a candidate: what is not decided is not taken.
    let (found, said) = searched(3, 6, fails);
    assert!(said.iter().any(|line| line == "  not decided (2 held): --runs-max"), "{said:#?}");
    assert!(smallest(found).unchanged);

    let (found, _) = searched(3, 1, fails);
    let text = found.to_string();
    assert!(text.contains("left no run to see how often; in the search: 1 violated"), "{text}");
    assert!(text.contains("ended by --runs-max") && !text.contains("still fails"), "{text}");
}
