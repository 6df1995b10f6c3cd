//! How many open files a run may need, and how many it gets.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{plan::Plan, run::RunError};

/// Open files of a process beside its users: connections to services and proxies, logs, epoll; a few dozen, rounded up.
const OTHER_FILES: u64 = 256;

/// Raises the soft limit to the hard one, for us and for all that we start. Shells set it low for programs that use
/// `select`, and a thousand users need more.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "cannot raise the limit of open files");
    }
}

/// Whether the hard limit allows what a plan needs; asked before anything starts.
///
/// # Errors
///
/// [`RunError::Descriptors`] with both numbers.
pub fn suffice(plan: &Plan) -> Result<(), RunError> {
    let needed = needed(plan.load.users);
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, most)) if most < needed => Err(RunError::Descriptors { needed, most }),
        // Who cannot be asked may be generous.
        _ => Ok(()),
    }
}

/// A socket for each user, and a quarter more: in a storm of reconnects the old ones are not closed yet.
fn needed(users: u32) -> u64 {
    let users = u64::from(users);
    users + users.div_ceil(4) + OTHER_FILES
}

/// The most users that the hard limit allows.
pub fn users_max() -> u32 {
    let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(_, most)| most);
    // Who is not limited is so by the ports of one address, long before.
    u32::try_from(most.saturating_sub(OTHER_FILES) / 5 * 4).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_users_are_just_within_the_limit() {
        let most = getrlimit(Resource::RLIMIT_NOFILE).unwrap().1;
        assert!(needed(users_max().min(1 << 30)) <= most.max(needed(0)));
    }

    #[test]
    fn every_user_is_a_socket_and_storms_need_more() {
        assert_eq!(needed(0), OTHER_FILES);
        assert_eq!(needed(1_500), 1_500 + 375 + OTHER_FILES);
    }
}
