//! Session tokens: made for a user who has logged in, and checked by functions that have the same key.
//!
//! A token is a JSON Web Token (RFC 7519) signed with HMAC-SHA-256 (`HS256`, RFC 7518, section 3.2). The format is
//! small enough to implement here, and every language has a library that checks it.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a token is valid, in seconds.
const LIFETIME: u64 = 60 * 60;

/// Minimum length of a key in bytes: the length of the hash (RFC 7518, section 3.2).
const MIN_KEY: usize = 32;

/// The only accepted header. Tokens with any other header are refused, so a token cannot choose its algorithm.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// The key that signs and checks tokens.
pub(crate) struct SigningKey(Hmac<Sha256>);

/// Why there is no key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("TOKEN_KEY has {0} bytes where at least {MIN_KEY} are needed")]
    TooShort(usize),
    #[error("no random bytes to be had for a signing key: {0}")]
    Random(getrandom::Error),
}

/// The contents of a token. Times are seconds since 1970, UTC.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The user.
    pub(crate) sub: String,
    /// The time at which the token was made.
    pub(crate) iat: u64,
    /// The time from which on the token is no longer valid.
    pub(crate) exp: u64,
}

impl Claims {
    /// The claims of a user who logs in now.
    pub(crate) fn new(user: &str, now: u64) -> Claims {
        Claims {
            sub: user.to_owned(),
            iat: now,
            exp: now + LIFETIME,
        }
    }
}

impl SigningKey {
    /// A key from the function's environment, shared by all its workers.
    pub(crate) fn from_text(text: &str) -> Result<SigningKey, KeyError> {
        if text.len() < MIN_KEY {
            return Err(KeyError::TooShort(text.len()));
        }
        Ok(SigningKey::from_bytes(text.as_bytes()))
    }

    /// A random key, which exists only in this process.
    pub(crate) fn random() -> Result<SigningKey, KeyError> {
        let mut bytes = [0; MIN_KEY];
        getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
        Ok(SigningKey::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8]) -> SigningKey {
        SigningKey(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// Makes the token with these claims.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let claims = serde_json::to_vec(claims).expect("text and numbers always print");
        let signed = format!("{}.{}", encode(HEADER.as_bytes()), encode(&claims));
        let signature = self.mac(&signed).finalize().into_bytes();
        format!("{signed}.{}", encode(&signature))
    }

    /// Returns the claims of a token, if this key has signed it and it has not expired. Signatures are compared in
    /// constant time, and the token is not parsed before its signature is verified.
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "this function only gives tokens out; one that asks for them takes this along"
        )
    )]
    pub(crate) fn verify(&self, token: &str, now: u64) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
        self.mac(signed).verify_slice(&signature).ok()?;
        let (header, claims) = signed.split_once('.')?;
        if header != encode(HEADER.as_bytes()) {
            return None;
        }
        let claims = Base64UrlUnpadded::decode_vec(claims).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (now < claims.exp).then_some(claims)
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(signed)
    }
}

fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with another implementation, over {"sub":"demo","iat":1000,"exp":4600}.
    const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJkZW1vIiwiaWF0IjoxMDAwLCJleHAiOjQ2MDB9._ZKapBealTSCLCVxH6ctEOSBLRBSYkuvbyctJknsu1U";

    fn key() -> SigningKey {
        SigningKey::from_text("a key of at least thirty-two bytes").unwrap()
    }

    #[test]
    fn a_token_is_what_others_make_of_it() {
        assert_eq!(key().sign(&Claims::new("demo", 1000)), TOKEN);
    }

    #[test]
    fn only_whole_tokens_of_this_key_in_their_time_are_good() {
        let check = |token: &str, now: u64, expect: bool| {
            let good = Claims::new("demo", 1000);
            assert_eq!(key().verify(token, now), expect.then_some(good), "{token}");
        };
        check(TOKEN, 1000, true);
        check(TOKEN, 4599, true);
        check(TOKEN, 4600, false);
        check("", 1000, false);
        check("..", 1000, false);
        check(&TOKEN[..TOKEN.len() - 1], 1000, false);
        check(&format!("{TOKEN}A"), 1000, false);
        check(&format!("{TOKEN}."), 1000, false);
        let (signed, signature) = TOKEN.rsplit_once('.').unwrap();
        check(signed, 1000, false);
        check(&format!("{signed}."), 1000, false);
        let claims = encode(br#"{"sub":"root","iat":1000,"exp":4600}"#);
        let header = encode(HEADER.as_bytes());
        check(&format!("{header}.{claims}.{signature}"), 1000, false);
        check(
            &format!("{}.{claims}.", encode(br#"{"alg":"none"}"#)),
            1000,
            false,
        );
        check(
            &SigningKey::random()
                .unwrap()
                .sign(&Claims::new("demo", 1000)),
            1000,
            false,
        );
    }

    #[test]
    fn a_header_of_another_kind_is_refused_even_if_signed() {
        let claims = encode(br#"{"sub":"demo","iat":1000,"exp":4600}"#);
        let sign = |header: &str| {
            let signed = format!("{}.{claims}", encode(header.as_bytes()));
            let signature = encode(&key().mac(&signed).finalize().into_bytes());
            key().verify(&format!("{signed}.{signature}"), 1000)
        };
        assert!(sign(HEADER).is_some());
        assert_eq!(sign(r#"{"alg":"HS512","typ":"JWT"}"#), None);
    }

    #[test]
    fn short_keys_are_refused_and_random_ones_differ() {
        let check = |length: usize, expect: Result<(), KeyError>| {
            assert_eq!(SigningKey::from_text(&"k".repeat(length)).map(drop), expect);
        };
        check(0, Err(KeyError::TooShort(0)));
        check(31, Err(KeyError::TooShort(31)));
        check(32, Ok(()));
        check(100, Ok(()));
        let sign = || SigningKey::random().unwrap().sign(&Claims::new("demo", 0));
        assert_ne!(sign(), sign());
    }
}
