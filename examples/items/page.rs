//! The page of a list that a client requests, such as `?limit=20&after=40`. Independent of items.

use hearth_sdk::Problem;

/// Number of items on a page if the client sets no limit.
const DEFAULT_LIMIT: usize = 50;

/// Maximum number of items on a page. It bounds the size of a response.
const MAX_LIMIT: usize = 200;

/// Part of a list that is ordered by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The page begins after this id.
    pub(crate) after: u64,
    /// Maximum number of items, 1 to 200.
    pub(crate) limit: usize,
}

impl Page {
    /// Parses a query. Unknown parameters are ignored, and of repeated ones the last counts. Both values are plain
    /// digits, so no percent-decoding is needed.
    ///
    /// # Errors
    /// A 400 that names the parameter.
    pub(crate) fn from_query(query: &str) -> Result<Page, Problem> {
        let mut page = Page {
            after: 0,
            limit: DEFAULT_LIMIT,
        };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "after" => page.after = number(name, value)?,
                "limit" => {
                    page.limit = number(name, value)
                        .ok()
                        .and_then(|limit| usize::try_from(limit).ok())
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                        .ok_or_else(|| bad("limit", &format!("1 to {MAX_LIMIT}")))?;
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

/// Parses a number from the path or the query: only digits, no sign.
///
/// # Errors
/// A 400 that names the parameter.
pub(crate) fn number(name: &str, value: &str) -> Result<u64, Problem> {
    Some(value)
        .filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| bad(name, "a whole number"))
}

fn bad(name: &str, expected: &str) -> Problem {
    Problem::new(400, "A parameter does not fit")
        .detail(format!("{name}: expected {expected}"))
        .with("field", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expect: Result<(u64, usize), u16>) {
        let result = Page::from_query(query);
        let result = result.map(|page| (page.after, page.limit));
        assert_eq!(
            result.map_err(|problem| problem.status()),
            expect,
            "{query}"
        );
    }

    #[test]
    fn a_page_is_bounded_and_wrong_numbers_are_refused() {
        check("", Ok((0, 50)));
        check("limit=1&after=7", Ok((7, 1)));
        check("colour=red&&limit=200", Ok((0, 200)));
        check("limit=2&limit=3", Ok((0, 3)));
        check("limit=0", Err(400));
        check("limit=201", Err(400));
        check("limit=", Err(400));
        check("limit", Err(400));
        check("limit=+5", Err(400));
        check("after=-1", Err(400));
        check("after=99999999999999999999", Err(400));
    }
}
