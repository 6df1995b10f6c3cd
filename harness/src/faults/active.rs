//! A fault in force: begun whole or not at all, proved while it lasts, and ended once.

use std::time::Duration;

use super::{Fault, FaultError, Seen, of};
use crate::{plan::FaultKind, wait};

/// Longest times of the steps of a fault.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// To be begun.
    begin: Duration,
    /// To be ended.
    end: Duration,
    /// To be seen gone once it has been ended.
    gone: Duration,
}

const LIMITS: Limits = Limits {
    // A service that is stopped has 30 s to end by itself, and a rented one is slow to answer.
    begin: Duration::from_secs(60),
    // As long as a service or process has to be ready again, and as much for those that hold it to let go.
    end: Duration::from_secs(120),
    // For a service, process or link to be whole again.
    gone: Duration::from_secs(30),
};

/// A fault in force. Must be healed; dropping it leaves the cluster hurt.
#[must_use = "a fault that is not healed outlives its window"]
#[derive(Debug)]
pub struct ActiveFault<Sut = super::SystemUnderTest> {
    fault: Box<dyn Fault<Sut>>,
    limits: Limits,
}

/// Puts a fault in force.
///
/// # Errors
///
/// [`FaultError`] when it could not be; whatever was begun is undone, or named.
pub async fn inject(kind: &FaultKind, sut: &super::SystemUnderTest) -> Result<ActiveFault, FaultError> {
    ActiveFault::begin(of(kind), sut, LIMITS).await
}

impl<Sut> ActiveFault<Sut> {
    async fn begin(fault: Box<dyn Fault<Sut>>, sut: &Sut, limits: Limits) -> Result<Self, FaultError> {
        let mut active = Self { fault, limits };
        let error = match tokio::time::timeout(limits.begin, active.fault.begin(sut)).await {
            Ok(Ok(())) => return Ok(active),
            Ok(Err(error)) => error,
            Err(_) => FaultError::TookTooLong { doing: "begun", limit: limits.begin },
        };
        // Some of its targets may be hurt: a service that would not stop in time was killed, and must not stay away.
        Err(match active.end(sut).await {
            Ok(_) => error,
            Err(left) => FaultError::HalfDone { error: Box::new(error), left: left.to_string() },
        })
    }

    async fn end(&mut self, sut: &Sut) -> Result<Option<String>, FaultError> {
        let limit = self.limits.end;
        tokio::time::timeout(limit, self.fault.end(sut))
            .await
            .map_err(|_| FaultError::TookTooLong { doing: "ended", limit })?
    }

    /// Waits until the fault is at its full strength: until then there is nothing to be proved.
    pub async fn grown(&mut self) {
        self.fault.grown().await;
    }

    /// Looks for the fault. `Ok` tells what shows it.
    ///
    /// # Errors
    ///
    /// What the probe saw in place of the fault.
    pub async fn prove(&self, sut: &Sut) -> Seen {
        self.fault.prove(sut).await
    }

    /// Waits until the fault is over by itself. Most never are.
    pub async fn over(&mut self) {
        self.fault.over().await;
    }

    /// Ends the fault and shows that it is gone. Returns what was seen.
    ///
    /// # Errors
    ///
    /// [`FaultError`] when it could not be ended on every target (all are tried), or is still to be seen half a
    /// minute later.
    pub async fn heal(mut self, sut: &Sut) -> Result<String, FaultError> {
        let done = self.end(sut).await?;
        let seen = wait::until("the fault gone", self.limits.gone, async || self.fault.gone(sut).await)
            .await
            .map_err(|error| FaultError::StillThere(error.to_string()))?;
        Ok(match done {
            Some(done) => format!("{seen}; {done}"),
            None => seen,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeSet};

    use async_trait::async_trait;

    use super::*;
    use crate::faults::each::each;

    /// A system with five targets, and what becomes of them.
    #[derive(Debug, Default)]
    struct Five {
        hurt: RefCell<BTreeSet<u32>>,
        /// This one cannot be hurt.
        hard: Option<u32>,
        /// This one does not answer whoever would hurt it.
        silent: Option<u32>,
        /// This one cannot be healed.
        stuck: Option<u32>,
        /// This one never answers whoever would heal it.
        lost: Option<u32>,
        /// A hurt is seen for so many looks after it has been healed.
        late: RefCell<u32>,
    }

    #[derive(Debug)]
    struct Fake;

    #[async_trait(?Send)]
    impl Fault<Five> for Fake {
        async fn begin(&mut self, sut: &Five) -> Result<(), FaultError> {
            for target in 1..=5 {
                if sut.hard == Some(target) {
                    return Err(FaultError::Missed(format!("{target} is hard")));
                }
                sut.hurt.borrow_mut().insert(target);
                if sut.silent == Some(target) {
                    std::future::pending().await
                }
            }
            Ok(())
        }

        async fn prove(&self, _: &Five) -> Seen {
            Ok("hurt".to_owned())
        }

        async fn end(&mut self, sut: &Five) -> Result<Option<String>, FaultError> {
            each(&[1, 2, 3, 4, 5], async |target: &u32| {
                if sut.lost == Some(*target) {
                    std::future::pending().await
                }
                if sut.stuck == Some(*target) {
                    return Err(FaultError::Missed("it is stuck".to_owned()));
                }
                sut.hurt.borrow_mut().remove(target);
                Ok(())
            })
            .await
            .map(|()| None)
        }

        async fn gone(&self, sut: &Five) -> Seen {
            let mut late = sut.late.borrow_mut();
            *late = late.saturating_sub(1);
            if *late > 0 { Err("still hurt".to_owned()) } else { Ok("well".to_owned()) }
        }
    }

    async fn begun(sut: &Five) -> Result<ActiveFault<Five>, FaultError> {
        let soon = Duration::from_millis(300);
        let limits = Limits { begin: soon, end: soon, gone: soon };
        ActiveFault::begin(Box::new(Fake), sut, limits).await
    }

    #[tokio::test]
    async fn a_target_that_cannot_be_hurt_or_does_not_answer_leaves_none_hurt() {
        for sut in [Five { hard: Some(3), ..Five::default() }, Five { silent: Some(3), ..Five::default() }] {
            let error = begun(&sut).await.unwrap_err();
            assert!(!matches!(error, FaultError::HalfDone { .. }), "{error}");
            assert_eq!(*sut.hurt.borrow(), BTreeSet::new(), "{error}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_undone_is_named_beside_why_it_was_not_begun() {
        let sut = Five { hard: Some(4), stuck: Some(2), ..Five::default() };
        let error = begun(&sut).await.unwrap_err().to_string();
        assert!(error.contains("4 is hard") && error.contains("2: it is stuck"), "{error}");
        assert_eq!(*sut.hurt.borrow(), BTreeSet::from([2]));
    }

    #[tokio::test]
    async fn healing_tries_every_target_and_has_an_end() {
        let sut = Five { stuck: Some(2), ..Five::default() };
        let error = begun(&sut).await.unwrap().heal(&sut).await.unwrap_err().to_string();
        assert!(error.contains("2: it is stuck"), "{error}");
        assert_eq!(*sut.hurt.borrow(), BTreeSet::from([2]), "those after it were healed");

        let sut = Five { lost: Some(2), ..Five::default() };
        let error = begun(&sut).await.unwrap().heal(&sut).await.unwrap_err();
        assert!(matches!(error, FaultError::TookTooLong { doing: "ended", .. }), "{error}");
    }

    #[tokio::test]
    async fn health_may_come_late_but_not_too_late() {
        let sut = Five { late: RefCell::new(3), ..Five::default() };
        assert_eq!(begun(&sut).await.unwrap().heal(&sut).await.unwrap(), "well");
        let sut = Five { late: RefCell::new(u32::MAX), ..Five::default() };
        let error = begun(&sut).await.unwrap().heal(&sut).await.unwrap_err();
        assert!(matches!(error, FaultError::StillThere(_)), "{error}");
    }
}
