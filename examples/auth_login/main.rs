//! Login: exchanges a user's password for a signed session token.
//!
//! This file contains the route and its responses; `password` decides who may log in, and `session` makes the tokens.
//! This example does not limit failed attempts, which a public login must do.

mod password;
mod session;

use std::time::{SystemTime, UNIX_EPOCH};

use hearth_sdk::{Problem, Request, Response, env, serve};
use serde::{Deserialize, Serialize};

use crate::password::{DEMO_USER, Users};
use crate::session::{Claims, KeyError, SigningKey};

/// Longest password in bytes: longer than any passphrase, and a bound for the work of the hash.
const MAX_PASSWORD: usize = 1024;

/// The state, created once when the worker starts.
struct Login {
    users: Users,
    key: SigningKey,
}

fn main() {
    serve(start, |login, req| handle(login, &req, unix_seconds()));
}

/// A panic in this function reports to the platform that the worker cannot start, with the reason.
#[expect(
    clippy::print_stderr,
    reason = "the platform takes a worker's stderr into its log"
)]
fn start() -> Login {
    let (key, notice) = match signing_key(env("TOKEN_KEY")) {
        Ok(made) => made,
        Err(error) => panic!("auth_login cannot start: {error}"),
    };
    eprintln!("auth_login: the only user is the demo user `{DEMO_USER}`; {notice}");
    Login {
        users: Users::demo(),
        key,
    }
}

fn signing_key(text: Option<&str>) -> Result<(SigningKey, &'static str), KeyError> {
    match text {
        Some(text) => Ok((SigningKey::from_text(text)?, "signing key from TOKEN_KEY")),
        None => Ok((
            SigningKey::random()?,
            "no TOKEN_KEY in `env`, so the signing key is random and tokens end with this worker",
        )),
    }
}

/// Does not implement `Debug`, because it contains a password.
#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

#[derive(Serialize)]
struct Granted {
    token: String,
    token_type: &'static str,
    /// Seconds since 1970, UTC.
    expires_at: u64,
}

/// `now` in seconds since 1970, UTC.
fn handle(login: &Login, req: &Request, now: u64) -> Result<Response, Problem> {
    match (req.method.as_str(), req.route.as_str()) {
        ("POST", "/login") => log_in(login, req, now),
        _ => Ok(Response::not_found()),
    }
}

fn log_in(login: &Login, req: &Request, now: u64) -> Result<Response, Problem> {
    let Credentials { username, password } = req.json()?;
    if password.len() > MAX_PASSWORD {
        return Err(Problem::new(422, "A field does not hold what it may")
            .detail(format!("password: expected at most {MAX_PASSWORD} bytes"))
            .with("field", "password"));
    }
    if !login.users.admits(&username, &password) {
        return Ok(refused());
    }
    let claims = Claims::new(&username, now);
    Ok(Response::json(&Granted {
        token: login.key.sign(&claims),
        token_type: "Bearer",
        expires_at: claims.exp,
    })
    .header("cache-control", "no-store"))
}

/// The response is the same for a wrong password and for an unknown user. A 401 must name an authentication scheme (RFC
/// 9110, section 11.6.1); this one names the scheme of the token.
fn refused() -> Response {
    let problem = Problem::new(401, "Not logged in").detail("user name or password is wrong");
    Response::from(problem).header("www-authenticate", r#"Bearer realm="auth_login""#)
}

/// A clock before 1970 counts as 1970: on a machine with the right time, its tokens have expired.
fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::IntoResponse;
    use serde_json::{Value, json};

    fn login() -> Login {
        Login {
            users: Users::demo(),
            key: SigningKey::random().unwrap(),
        }
    }

    /// Sends one body; returns the status, the body of the response as JSON, and the whole response.
    fn send(login: &Login, body: &str) -> (u16, Value, Response) {
        let req = Request::new("POST", "/login", body);
        let answer = handle(login, &req, 1000).into_response();
        let json: Value = serde_json::from_slice(answer.bytes().unwrap()).unwrap();
        (answer.status_code(), json, answer)
    }

    fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
        let mut headers = answer.headers();
        headers
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn the_right_password_gives_a_token_that_verifies() {
        let login = login();
        let body = r#"{"username":"demo","password":"warm-hearth"}"#;
        let (status, json, answer) = send(&login, body);
        assert_eq!(status, 200);
        assert_eq!(json["token_type"], "Bearer");
        assert_eq!(json["expires_at"], 4600);
        assert_eq!(header(&answer, "cache-control"), Some("no-store"));
        let claims = login.key.verify(json["token"].as_str().unwrap(), 1000);
        assert_eq!(claims, Some(Claims::new("demo", 1000)));
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_get_the_same_answer() {
        let login = login();
        let expect = json!({
            "title": "Not logged in",
            "status": 401,
            "detail": "user name or password is wrong",
        });
        for body in [
            r#"{"username":"demo","password":"cold-hearth"}"#,
            r#"{"username":"nobody","password":"warm-hearth"}"#,
            r#"{"username":"","password":""}"#,
        ] {
            let (status, json, answer) = send(&login, body);
            assert_eq!((status, &json), (401, &expect));
            let challenge = header(&answer, "www-authenticate");
            assert_eq!(challenge, Some(r#"Bearer realm="auth_login""#));
        }
    }

    #[test]
    fn bodies_that_are_no_credentials_are_refused() {
        let login = login();
        let check = |body: &str, expect_status: u16, expect_detail: &str| {
            let (status, json, _) = send(&login, body);
            assert_eq!(status, expect_status);
            let detail = json["detail"].as_str().unwrap();
            assert!(detail.starts_with(expect_detail), "{detail}");
        };
        check("", 400, "EOF");
        check("username=demo", 400, "expected value");
        check(r#"{"username":"demo"}"#, 400, "missing field `password`");
        check(r#"{"password":"x"}"#, 400, "missing field `username`");
        check(
            r#"{"username":1,"password":"x"}"#,
            400,
            "username: invalid type",
        );
        let long = |length| {
            format!(
                r#"{{"username":"demo","password":"{}"}}"#,
                "x".repeat(length)
            )
        };
        check(&long(1024), 401, "user name or password");
        check(&long(1025), 422, "password: expected at most 1024 bytes");
    }

    #[test]
    fn other_routes_are_not_found() {
        let answer = handle(&login(), &Request::new("GET", "/login", ""), 0).into_response();
        assert_eq!(answer.status_code(), 404);
    }

    #[test]
    fn the_key_comes_from_the_environment_or_is_random() {
        let check = |text: Option<&str>, expect: Result<&str, KeyError>| {
            let notice = signing_key(text).map(|(_, notice)| notice);
            match (notice, expect) {
                (Ok(notice), Ok(part)) => assert!(notice.contains(part), "{notice}"),
                (notice, expect) => assert_eq!(notice, expect),
            }
        };
        check(None, Ok("random"));
        check(
            Some("a key of at least thirty-two bytes"),
            Ok("from TOKEN_KEY"),
        );
        check(Some("short"), Err(KeyError::TooShort(5)));
        check(Some(""), Err(KeyError::TooShort(0)));
    }
}
