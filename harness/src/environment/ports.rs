//! Free TCP ports, from outside the range the kernel gives to outgoing connections.
//!
//! A service keeps its port over a stop and a start. Were that port in the ephemeral range, a client that redials a dead
//! service could be given it as its own source port, and then talk to itself, or keep the service from coming back.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
};

use rand::Rng;

use super::error::EnvironmentError;
use crate::os;

/// Used when that cannot be read: Linux's default.
const EPHEMERAL_DEFAULT: RangeInclusive<u16> = 32768..=60999;

/// Lowest port considered: below live well-known services.
const LOWEST: u16 = 10_000;

/// Least ports that a side of the kernel's range must hold to be drawn from; a run takes two dozen.
const ENOUGH: usize = 500;

/// Draws before asking the kernel for any port instead.
const DRAWS: u32 = 200;

/// Finds ports; never gives the same one twice.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    given: HashSet<u16>,
}

impl Ports {
    /// [`Ports::free`] with the error of whoever starts services.
    pub(crate) fn draw(&mut self) -> Result<u16, EnvironmentError> {
        self.free().map_err(|source| EnvironmentError::NoPort { source })
    }

    /// A port nobody listened on a moment ago. Somebody may still come first: whoever uses it must be ready to ask again.
    pub(crate) fn free(&mut self) -> io::Result<u16> {
        let range = outside(&os::ephemeral_ports().unwrap_or(EPHEMERAL_DEFAULT));
        let mut rng = rand::rng();
        for _ in 0..DRAWS {
            let port = rng.random_range(range.clone());
            if !self.given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                self.given.insert(port);
                return Ok(port);
            }
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        self.given.insert(port);
        Ok(port)
    }
}

/// The larger side of what the kernel leaves.
fn outside(ephemeral: &RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = LOWEST..=ephemeral.start().saturating_sub(1);
    let above = ephemeral.end().saturating_add(1).max(LOWEST)..=u16::MAX;
    let larger = if below.len() >= above.len() { below } else { above };
    if larger.len() < ENOUGH { LOWEST..=u16::MAX } else { larger }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_side_is_taken() {
        assert_eq!(outside(&(32768..=60999)), 10_000..=32767);
        assert_eq!(outside(&(10_000..=40_000)), 40_001..=65535);
        assert_eq!(outside(&(1024..=65535)), 10_000..=65535);
    }

    #[test]
    fn no_port_is_given_twice() {
        let mut ports = Ports::default();
        let given: HashSet<u16> = (0..50).map(|_| ports.free().unwrap()).collect();
        assert_eq!(given.len(), 50);
    }
}
