//! The users who may log in, and the check of their passwords. Stores only hashes, never a password.
//!
//! The hashes are PHC strings of Argon2id with m = 19,456 KiB, t = 2, p = 1: the minimum that OWASP's password storage
//! cheat sheet recommends. A Raspberry Pi computes one in a fraction of a second. To make a hash, run the reference
//! tool with the password on its standard input: `argon2 SALT -id -k 19456 -t 2 -p 1 -e`.

use std::collections::BTreeMap;

use argon2::{Argon2, PasswordHash, PasswordVerifier};

/// The only user of this example.
pub(crate) const DEMO_USER: &str = "demo";

/// The hash of `warm-hearth`.
const DEMO_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$dDaCIplNaKmuP9ad6MY05A$4pIa8zO9SEDm/Ro3EcoXaWt53NUMsm+lLzkctkqt2fA";

/// The hash of 32 random bytes that were discarded.
const DECOY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$x4qv8jfMG/8E5xj4OIPbjg$av8UtHwHQVT2gcxRTeiv1MAeMwNanAjZNWNYCD3/g+c";

/// The users and the hashes of their passwords.
pub(crate) struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    /// Checked instead of the hash of an unknown user, so that the response time does not reveal which users exist.
    decoy: PasswordHash,
}

impl Users {
    /// Only the demo user.
    pub(crate) fn demo() -> Users {
        Users {
            hashes: BTreeMap::from([(DEMO_USER.to_owned(), parse(DEMO_HASH))]),
            decoy: parse(DECOY_HASH),
        }
    }

    /// Whether this is the password of the user. Does the same work for unknown users.
    pub(crate) fn admits(&self, username: &str, password: &str) -> bool {
        let known = self.hashes.get(username);
        let hash = known.unwrap_or(&self.decoy);
        // The hash contains its algorithm and cost; those of the `Argon2` value are ignored.
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
