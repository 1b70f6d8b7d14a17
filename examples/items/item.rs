//! An item, and the validation of the fields that a client sends. Independent of storage and routes.

use hearth_sdk::Problem;
use serde::{Deserialize, Serialize};

/// Longest name in characters: more than a line on a screen.
const MAX_NAME: usize = 200;

/// Largest integer that every JSON parser represents exactly (RFC 8259, section 6).
const MAX_EXACT: u64 = (1 << 53) - 1;

/// One item of the stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    /// Assigned by the store, never by a client.
    pub(crate) id: u64,
    #[serde(flatten)]
    pub(crate) draft: Draft,
}

/// An item without its id. It is valid: [`Fields::validate`] makes it, or a store makes it from a stored item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) quantity: u32,
    /// `None` if the item is not for sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) price_cents: Option<u64>,
}

/// The body of a request: the types are right, but the values have not been checked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fields {
    pub(crate) name: String,
    pub(crate) quantity: u32,
    pub(crate) price_cents: Option<u64>,
}

impl Fields {
    /// Checks the values and returns the draft, with its name trimmed.
    ///
    /// # Errors
    /// A 422 that names the field.
    pub(crate) fn validate(self) -> Result<Draft, Problem> {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err(invalid("name", format!("1 to {MAX_NAME} characters")));
        }
        // The type `text` of PostgreSQL cannot store U+0000, and a name does not need it.
        if name.contains('\0') {
            return Err(invalid("name", "no character U+0000".to_owned()));
        }
        if self.price_cents > Some(MAX_EXACT) {
            return Err(invalid("price_cents", format!("at most {MAX_EXACT}")));
        }
        Ok(Draft {
            name: name.to_owned(),
            quantity: self.quantity,
            price_cents: self.price_cents,
        })
    }
}

fn invalid(field: &'static str, expected: String) -> Problem {
    Problem::new(422, "A field does not hold what it may")
        .detail(format!("{field}: expected {expected}"))
        .with("field", field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_sdk::Response;

    fn check(name: &str, price_cents: Option<u64>, expect: Result<&str, &str>) {
        let fields = Fields {
            name: name.into(),
            quantity: 0,
            price_cents,
        };
        let result = fields
            .validate()
            .map(|draft| draft.name)
            .map_err(|problem| {
                assert_eq!(problem.status(), 422);
                let answer = Response::from(problem);
                let body: serde_json::Value =
                    serde_json::from_slice(answer.bytes().unwrap()).unwrap();
                body["field"].as_str().unwrap().to_owned()
            });
        assert_eq!(result, expect.map(Into::into).map_err(Into::into));
    }

    #[test]
    fn values_outside_their_bounds_are_refused_by_field() {
        check("kettle", None, Ok("kettle"));
        check("  cast iron kettle\n", Some(0), Ok("cast iron kettle"));
        check("", None, Err("name"));
        check(" \t", None, Err("name"));
        // Characters, not bytes.
        check(&"é".repeat(200), None, Ok(&"é".repeat(200)));
        check(&"é".repeat(201), None, Err("name"));
        check("ket\0tle", None, Err("name"));
        check("kettle", Some(MAX_EXACT), Ok("kettle"));
        check("kettle", Some(MAX_EXACT + 1), Err("price_cents"));
    }
}
