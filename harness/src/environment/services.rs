//! The three services as such, whoever runs them: how each is set up, and how it is asked. Knows no provider.

pub(crate) mod disk;
pub mod groups;
pub(crate) mod kafka;
pub(crate) mod postgres;
pub(crate) mod probe;
pub(crate) mod redis;
pub mod schema;
