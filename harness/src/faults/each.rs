//! Faults on several targets are ended on every one that can be, whatever becomes of the others.

use std::fmt::Display;

use crate::faults::FaultError;

/// Does something to every target, and says all that could not be done.
pub(super) async fn each<T: Display>(
    targets: &[T],
    act: impl AsyncFn(&T) -> Result<(), FaultError>,
) -> Result<(), FaultError> {
    let mut failed = Vec::new();
    for target in targets {
        if let Err(error) = act(target).await {
            failed.push(format!("{target}: {error}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(FaultError::Left(failed.join("; "))) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn every_target_is_tried_and_each_that_is_left_is_named() {
        let tried = RefCell::new(Vec::new());
        let undo = async |target: &u32| {
            tried.borrow_mut().push(*target);
            if target % 2 == 1 { Err(FaultError::Missed("no".into())) } else { Ok(()) }
        };
        let said = each(&[1, 2, 3, 4], undo).await.unwrap_err().to_string();
        assert!(said.contains("1: no; 3: no"), "{said}");
        assert_eq!(*tried.borrow(), [1, 2, 3, 4]);
        assert!(each(&[2, 4], undo).await.is_ok());
    }
}
