//! How users of the load prove who they are: by tokens signed here, as in production, or, to nodes in development mode, by
//! nothing but a name.

use chat_protocol::{
    events::Auth,
    token::{Claims, DEVELOPMENT_KEY, Key},
};

use crate::plan::ClusterPlan;

/// Nodes take it where nothing else is said.
const ISSUER: &str = "chat";
/// The end of every token, in seconds since the Unix epoch: the year 2100, later than any fault sets a node's clock.
const EXPIRES_S: u64 = 4_102_444_800;

/// What the nodes of every run believe. No secret: it guards a cluster on this machine's own addresses, for as long as a run.
const KEY: &str = "signed-by-squall-for-the-users-of-its-load";

/// The key that nodes of this cluster are given, if any.
pub fn token_key(cluster: &ClusterPlan) -> Option<&'static str> {
    cluster.tokens.then_some(KEY)
}

/// Says who the users of a load are.
#[derive(Debug)]
pub struct Identity(Option<Key>);

impl Identity {
    /// As the plan of their cluster has it.
    pub fn of(cluster: &ClusterPlan) -> Self {
        Self(token_key(cluster).and_then(|key| Key::new(key.as_bytes()).ok()))
    }

    /// The proof of a user, signed anew for every connection.
    pub fn prove(&self, user: String) -> Auth {
        match &self.0 {
            Some(key) => signed(key, user, ISSUER, EXPIRES_S),
            None => Auth::Name { user },
        }
    }

    /// Proofs that no node may take for good, by name; none where nodes believe everybody.
    pub fn forged(&self, user: &str) -> Vec<(&'static str, Auth)> {
        let (Some(key), Ok(anybodys)) = (&self.0, Key::new(DEVELOPMENT_KEY.as_bytes())) else {
            return Vec::new();
        };
        let by = |key: &Key, issuer, exp_s| signed(key, user.to_owned(), issuer, exp_s);
        let mut forged = vec![
            ("a name without a token", Auth::Name { user: user.to_owned() }),
            ("a token signed by anybody", by(&anybodys, ISSUER, EXPIRES_S)),
            ("a token of another issuer", by(key, "elsewhere", EXPIRES_S)),
            ("a token that has ended", by(key, ISSUER, 1)),
        ];
        if let Auth::Token { token } = by(key, ISSUER, EXPIRES_S)
            && let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..]
        {
            // {"alg":"none"}
            let unsigned = format!("eyJhbGciOiJub25lIn0.{claims}.");
            forged.push(("a token that says it needs no signature", Auth::Token { token: unsigned }));
            let changed = format!("{header}.A{claims}.{signature}");
            forged.push(("a token changed after it was signed", Auth::Token { token: changed }));
        }
        forged
    }
}

fn signed(key: &Key, user: String, issuer: &str, exp_s: u64) -> Auth {
    Auth::Token { token: key.sign(&Claims { sub: user, iss: issuer.to_owned(), exp: exp_s }) }
}

#[cfg(test)]
mod tests {
    use chat_protocol::token::{self, BadToken};

    use super::*;

    fn key() -> Key {
        Key::new(KEY.as_bytes()).unwrap()
    }

    fn checked(auth: &Auth) -> Option<Result<String, BadToken>> {
        let Auth::Token { token } = auth else { return None };
        Some(token::check(token, &[key()], ISSUER, 1_900_000_000).map(|claims| claims.sub))
    }

    #[test]
    fn users_are_believed_and_what_is_forged_is_not() {
        let identity = Identity(Some(key()));
        assert_eq!(checked(&identity.prove("ann".into())), Some(Ok("ann".into())));
        let forged = identity.forged("ann");
        assert_eq!(forged.len(), 6);
        for (name, auth) in forged {
            assert!(!matches!(checked(&auth), Some(Ok(_))), "{name}");
        }
    }

    #[test]
    fn where_everybody_is_believed_nothing_is_forged() {
        let identity = Identity(None);
        assert_eq!(identity.prove("ann".into()), Auth::Name { user: "ann".into() });
        assert!(identity.forged("ann").is_empty());
    }
}
