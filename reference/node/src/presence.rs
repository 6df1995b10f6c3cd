//! Who is in which room, on this node and, as far as the bus tells, on the others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use chat_protocol::events::PresenceChange;

use crate::limits;

/// The table.
#[derive(Debug, Default)]
pub struct Presence(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// room → user → sockets on this node.
    local: HashMap<String, HashMap<String, usize>>,
    /// room → user → when another node last said so.
    remote: HashMap<String, HashMap<String, Instant>>,
    remote_entries: usize,
}

impl Presence {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A socket of this node entered. True if its user was not here before.
    pub fn enter(&self, room: &str, user: &str) -> bool {
        let mut table = self.table();
        let sockets = table.local.entry(room.to_owned()).or_default().entry(user.to_owned()).or_insert(0);
        *sockets += 1;
        *sockets == 1
    }

    /// A socket of this node left. True if it was the last one of its user.
    pub fn leave(&self, room: &str, user: &str) -> bool {
        let mut table = self.table();
        let Some(users) = table.local.get_mut(room) else { return false };
        let Some(sockets) = users.get_mut(user) else { return false };
        *sockets -= 1;
        if *sockets > 0 {
            return false;
        }
        users.remove(user);
        if users.is_empty() {
            table.local.remove(room);
        }
        true
    }

    /// Whether a user is in a room on this node.
    pub fn is_local(&self, room: &str, user: &str) -> bool {
        self.table().local.get(room).is_some_and(|users| users.contains_key(user))
    }

    /// What a node said. True if it is news to the members on this node; this node's own frames come this way too.
    pub fn hear(&self, change: &PresenceChange) -> bool {
        let mut table = self.table();
        let local = table.local.get(&change.room).is_some_and(|users| users.contains_key(&change.user));
        let Table { remote, remote_entries, .. } = &mut *table;
        if !change.online {
            let Some(users) = remote.get_mut(&change.room) else { return !local };
            if users.remove(&change.user).is_some() {
                *remote_entries -= 1;
            }
            if users.is_empty() {
                remote.remove(&change.room);
            }
            return !local;
        }
        let known = remote.get(&change.room).is_some_and(|users| users.contains_key(&change.user));
        if !known && *remote_entries >= limits::PRESENCE_ENTRIES {
            return false;
        }
        remote.entry(change.room.clone()).or_default().insert(change.user.clone(), Instant::now());
        *remote_entries += usize::from(!known);
        !known
    }

    /// The users of a room, sorted.
    pub fn users(&self, room: &str) -> Vec<String> {
        let table = self.table();
        let mut users: BTreeSet<String> = BTreeSet::new();
        users.extend(table.local.get(room).into_iter().flat_map(|users| users.keys().cloned()));
        let believed = |heard: &Instant| heard.elapsed() < limits::PRESENCE_BELIEVED;
        let remote = table.remote.get(room).into_iter().flatten();
        users.extend(remote.filter(|(_, heard)| believed(heard)).map(|(user, _)| user.clone()));
        users.into_iter().collect()
    }

    /// Forgets what has not been said for long, and returns who is here, for the others to hear again.
    pub fn refresh(&self) -> Vec<(String, String)> {
        let mut table = self.table();
        table.remote.retain(|_, users| {
            users.retain(|_, heard| heard.elapsed() < limits::PRESENCE_BELIEVED);
            !users.is_empty()
        });
        table.remote_entries = table.remote.values().map(HashMap::len).sum();
        let here = table.local.iter();
        here.flat_map(|(room, users)| users.keys().map(|user| (room.clone(), user.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_two_sockets_leaves_with_the_second() {
        let presence = Presence::default();
        assert!(presence.enter("r", "ann"));
        assert!(!presence.enter("r", "ann"));
        assert!(!presence.leave("r", "ann"));
        assert!(presence.leave("r", "ann"));
        assert!(!presence.leave("r", "ann"));
        assert!(presence.users("r").is_empty());
    }

    #[test]
    fn users_of_other_nodes_are_seen_until_they_leave() {
        let presence = Presence::default();
        presence.enter("r", "ann");
        let change = |online| PresenceChange { room: "r".into(), user: "bob".into(), online };
        assert!(presence.hear(&change(true)));
        assert!(!presence.hear(&change(true)));
        assert_eq!(presence.users("r"), ["ann", "bob"]);
        assert!(presence.hear(&change(false)));
        assert_eq!(presence.users("r"), ["ann"]);
    }
}
