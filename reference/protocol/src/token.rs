//! Tokens: who somebody is, signed by whoever knows them. JSON Web Tokens (RFC 7519) with HS256, and the claims `sub` (the
//! user), `iss` and `exp`; all three must be there, and others are ignored.
//!
//! Signing and checking are a page of code on crates that the PostgreSQL client brings anyway; the crates for JWT bring
//! another cryptography, or the same with features that build half the tree anew.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Shortest key, in bytes: as long as what the hash gives (RFC 7518, 3.2).
pub const KEY_MIN_BYTES: usize = 32;

/// Longest token taken: a name of 64 bytes takes 300 with everything around it, and issuers add claims of their own.
pub const TOKEN_MAX_BYTES: usize = 4 * 1024;

/// The key of a node in development mode, which signs any name for whoever asks. It is no secret, and a node that was given
/// keys takes nothing signed by it.
pub const DEVELOPMENT_KEY: &str = "development-mode-believes-everybody";

/// The header of every token signed here.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// Who signed it.
    pub iss: String,
    /// When it ends, in seconds since the Unix epoch.
    pub exp: u64,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It is not a token of this kind.
    #[error("not a token signed with HS256, or without sub, iss and exp")]
    Malformed,
    /// It was signed by none of the keys.
    #[error("not signed by a key of this cluster")]
    Signature,
    /// It was signed by another issuer.
    #[error("not of this cluster's issuer")]
    Issuer,
    /// It has ended.
    #[error("expired: sign in again")]
    Expired,
}

/// A key that is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token key must have at least {KEY_MIN_BYTES} bytes")]
pub struct ShortKey;

/// A key for signing and for checking.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl Key {
    /// A key of these bytes.
    ///
    /// # Errors
    ///
    /// [`ShortKey`].
    pub fn new(secret: &[u8]) -> Result<Self, ShortKey> {
        if secret.len() < KEY_MIN_BYTES {
            return Err(ShortKey);
        }
        Hmac::new_from_slice(secret).map(Self).map_err(|_| ShortKey)
    }

    /// The token that says so.
    pub fn sign(&self, claims: &Claims) -> String {
        // Claims of strings and a number always have a JSON form.
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        let signed = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(payload));
        let signature = self.0.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// Checks a token against the keys that are valid now, and against the clock (seconds since the Unix epoch).
///
/// # Errors
///
/// [`BadToken`].
pub fn check(token: &str, keys: &[Key], issuer: &str, now_s: u64) -> Result<Claims, BadToken> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    if token.len() > TOKEN_MAX_BYTES {
        return Err(BadToken::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(BadToken::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(BadToken::Malformed)?;
    let decoded = |part: &str| BASE64.decode(part).map_err(|_| BadToken::Malformed);
    let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| BadToken::Malformed)?;
    // Never by what the token itself asks for: `none` is an algorithm too.
    if header.alg != "HS256" {
        return Err(BadToken::Malformed);
    }
    let signature = decoded(signature)?;
    // In constant time; every key is tried, and there are two at most.
    let is_signed = |key: &Key| key.0.clone().chain_update(signed).verify_slice(&signature).is_ok();
    if !keys.iter().any(is_signed) {
        return Err(BadToken::Signature);
    }
    // Read only now: what is not signed is nobody's word.
    let claims: Claims = serde_json::from_slice(&decoded(payload)?).map_err(|_| BadToken::Malformed)?;
    if claims.iss != issuer {
        return Err(BadToken::Issuer);
    }
    if claims.exp <= now_s {
        return Err(BadToken::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(letter: char) -> Key {
        Key::new(letter.to_string().repeat(KEY_MIN_BYTES).as_bytes()).unwrap()
    }

    fn claims() -> Claims {
        Claims { sub: "ann".into(), iss: "chat".into(), exp: 1_000 }
    }

    #[test]
    fn a_token_of_somebody_else_is_understood() {
        // From RFC 7515, appendix A.1: the key, and a token without `sub`.
        let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                     eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                     dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let keys = [Key::new(&BASE64.decode(secret).unwrap()).unwrap()];
        assert_eq!(check(token, &keys, "joe", 0), Err(BadToken::Malformed), "signed, and without `sub`");
        let spoiled = token.replace("dBjf", "eBjf");
        assert_eq!(check(&spoiled, &keys, "joe", 0), Err(BadToken::Signature));
    }

    #[test]
    fn two_keys_are_valid_at_once_and_then_one_is_not() {
        let (old, new) = (key('a'), key('b'));
        let token = old.sign(&claims());
        assert_eq!(check(&token, &[new.clone(), old], "chat", 0), Ok(claims()));
        assert_eq!(check(&token, &[new], "chat", 0), Err(BadToken::Signature));
    }

    #[test]
    fn every_claim_counts_and_the_algorithm_is_not_the_tokens_choice() {
        let keys = [key('a')];
        let token = keys[0].sign(&claims());
        assert_eq!(check(&token, &keys, "chat", 999), Ok(claims()));
        assert_eq!(check(&token, &keys, "chat", 1_000), Err(BadToken::Expired));
        assert_eq!(check(&token, &keys, "another", 0), Err(BadToken::Issuer));
        let (_, rest) = token.split_once('.').unwrap();
        let (payload, _) = rest.split_once('.').unwrap();
        let none = format!("{}.{payload}.", BASE64.encode(r#"{"alg":"none"}"#));
        assert_eq!(check(&none, &keys, "chat", 0), Err(BadToken::Malformed));
        assert!(Key::new(b"short").is_err());
    }

    proptest! {
        /// Whatever comes, it is read or refused; and nothing but what was signed is taken.
        #[test]
        fn nothing_else_is_taken(text in ".{0,200}", at in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_.-]") {
            let keys = [key('a')];
            prop_assert!(check(&text, &keys, "chat", 0).is_err());
            let token = keys[0].sign(&claims());
            let at = at.index(token.len());
            let spoiled = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
            prop_assert!(spoiled == token || check(&spoiled, &keys, "chat", 0).is_err());
        }
    }
}
