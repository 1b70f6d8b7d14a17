//! Who may log in, and whether a password is theirs. Keeps hashes only, never a password.
//!
//! The hashes are PHC strings of Argon2id with m = 19,456 KiB, t = 2, p = 1: the least that OWASP's
//! password storage cheat sheet recommends, and what a Raspberry Pi does in a fraction of a second.
//! The reference tool makes one, with the password on its stdin:
//! `argon2 SALT -id -k 19456 -t 2 -p 1 -e`.

use std::collections::BTreeMap;

use argon2::{Argon2, PasswordHash, PasswordVerifier};

/// The one user of this example.
pub(crate) const DEMO_USER: &str = "demo";

/// Of `warm-hearth`.
const DEMO_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$dDaCIplNaKmuP9ad6MY05A$4pIa8zO9SEDm/Ro3EcoXaWt53NUMsm+lLzkctkqt2fA";

/// Of 32 random bytes that were thrown away.
const DECOY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$x4qv8jfMG/8E5xj4OIPbjg$av8UtHwHQVT2gcxRTeiv1MAeMwNanAjZNWNYCD3/g+c";

/// The users and their passwords' hashes.
pub(crate) struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    /// Checked in place of an unknown user's, so that the time taken does not tell who exists.
    decoy: PasswordHash,
}

impl Users {
    /// The demo user alone.
    pub(crate) fn demo() -> Users {
        Users {
            hashes: BTreeMap::from([(DEMO_USER.to_owned(), parse(DEMO_HASH))]),
            decoy: parse(DECOY_HASH),
        }
    }

    /// Whether this is a user's password. Does the same work for users that do not exist.
    pub(crate) fn admits(&self, username: &str, password: &str) -> bool {
        let known = self.hashes.get(username);
        let hash = known.unwrap_or(&self.decoy);
        // Algorithm and cost are the hash's own; the Argon2 value's are not looked at.
        let fits = Argon2::default()
            .verify_password(password.as_bytes(), hash)
            .is_ok();
        fits && known.is_some()
    }
}

fn parse(hash: &str) -> PasswordHash {
    PasswordHash::new(hash).expect("the hashes in this file are PHC strings")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(username: &str, password: &str, expect: bool) {
        assert_eq!(Users::demo().admits(username, password), expect);
    }

    #[test]
    fn only_the_users_own_password_is_admitted() {
        check("demo", "warm-hearth", true);
        check("demo", "warm-hearth ", false);
        check("demo", "", false);
        check("Demo", "warm-hearth", false);
        check("nobody", "warm-hearth", false);
    }

    #[test]
    fn an_unknown_user_costs_what_a_known_one_costs() {
        let users = Users::demo();
        let cost = |hash: &PasswordHash| (hash.algorithm, hash.version, hash.params.clone());
        assert_eq!(cost(&users.hashes[DEMO_USER]), cost(&users.decoy));
    }
}
