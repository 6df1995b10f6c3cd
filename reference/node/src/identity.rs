//! Who a client is: by a token, or, in development mode, by what it says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{Json, Router, routing::post};
use chat_protocol::{
    events::Auth,
    token::{self, BadToken, Claims, DEVELOPMENT_KEY, Key},
};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// How long a token of development mode is valid: a day of work.
const DEVELOPMENT_TOKEN: Duration = Duration::from_secs(12 * 60 * 60);

/// Why nobody knows who a client is.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The token is not taken.
    #[error("token: {0}")]
    Token(#[from] BadToken),
    /// A name, where names are not believed.
    #[error("auth must be an object with a token")]
    NameOnly,
}

/// How people prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignIn {
    /// By any name: development mode.
    Name,
    /// By a token.
    Token,
}

impl SignIn {
    /// What this node asks for.
    pub fn of(config: &Config) -> Self {
        if config.development() { Self::Name } else { Self::Token }
    }
}

/// The user that connects.
///
/// # Errors
///
/// [`Unknown`].
pub fn user_of(config: &Config, auth: Auth) -> Result<String, Unknown> {
    match auth {
        Auth::Name { user } if config.development() => Ok(user),
        Auth::Name { .. } => Err(Unknown::NameOnly),
        Auth::Token { token } => {
            let development = Key::new(DEVELOPMENT_KEY.as_bytes()).ok().filter(|_| config.development());
            let keys: Vec<Key> = config.token_keys.iter().cloned().chain(development).collect();
            Ok(token::check(&token, &keys, &config.token_issuer, now_s())?.sub)
        }
    }
}

/// Development mode: `POST /dev/token` with `{"user": "ann"}` answers `{"token": "…"}`, for whoever asks.
pub fn routes<S: Clone + Send + Sync + 'static>(config: &Config) -> Router<S> {
    #[derive(Deserialize)]
    struct Asked {
        user: String,
    }
    #[derive(Serialize)]
    struct Signed {
        token: String,
    }
    let Some(key) = Key::new(DEVELOPMENT_KEY.as_bytes()).ok().filter(|_| config.development()) else {
        return Router::new();
    };
    let issuer = config.token_issuer.clone();
    let sign = move |Json(Asked { user }): Json<Asked>| async move {
        let exp = now_s() + DEVELOPMENT_TOKEN.as_secs();
        Json(Signed { token: key.sign(&Claims { sub: user, iss: issuer, exp }) })
    };
    Router::new().route("/dev/token", post(sign))
}

/// A clock before 1970 is a broken clock: then no token has ended.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const SECRETS: [&str; 2] = ["one-key-of-thirty-two-bytes-or-more", "another-key-of-thirty-two-or-more"];

    fn token(secret: &str) -> Auth {
        let claims = Claims { sub: "ann".into(), iss: "chat".into(), exp: now_s() + 60 };
        Auth::Token { token: Key::new(secret.as_bytes()).unwrap().sign(&claims) }
    }

    fn name() -> Auth {
        Auth::Name { user: "ann".into() }
    }

    #[test]
    fn names_are_believed_in_development_mode_only() {
        let config = Config::parse_from(["chat-node"]);
        assert_eq!(user_of(&config, name()).unwrap(), "ann");
        assert_eq!(user_of(&config, token(DEVELOPMENT_KEY)).unwrap(), "ann");
        assert!(user_of(&config, token(SECRETS[0])).is_err());
    }

    #[test]
    fn with_keys_only_what_one_of_them_signed_is_believed() {
        let keys = format!("--token-key={},{}", SECRETS[0], SECRETS[1]);
        let config = Config::parse_from(["chat-node", &keys]);
        for secret in SECRETS {
            assert_eq!(user_of(&config, token(secret)).unwrap(), "ann");
        }
        assert!(matches!(user_of(&config, name()), Err(Unknown::NameOnly)));
        assert!(matches!(user_of(&config, token(DEVELOPMENT_KEY)), Err(Unknown::Token(BadToken::Signature))));
        assert!(Config::try_parse_from(["chat-node", "--token-key=short"]).is_err());
    }
}
