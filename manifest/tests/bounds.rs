//! Tests that hostile input (too large, too deep, not text) is rejected quickly.

// The lint exempts test functions, but not their helpers.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hearth_manifest::parse;

/// Half of the maximum size, which is large enough to reveal quadratic run time.
const LARGE: usize = 512 * 1024;

/// Parses a text and returns its only error as text.
fn only_fault(text: &[u8]) -> String {
    let faults = parse("f", text).unwrap_err();
    assert_eq!((faults.faults.len(), faults.more), (1, 0), "{faults}");
    faults.faults[0].to_string()
}

#[test]
fn texts_that_are_none_are_refused_at_once() {
    assert_eq!(
        only_fault(&vec![b'#'; 1024 * 1024 + 1]),
        "f:1:1: larger than 1 MiB"
    );
    assert_eq!(
        only_fault(b"service: s\n# \xc3\xa9\xff\n"),
        "f:2:4: not UTF-8 at byte 15"
    );
    assert_eq!(
        only_fault(b"service: s\r\n# \xc3"),
        "f:2:3: not UTF-8 at byte 14"
    );
    assert_eq!(only_fault(b"a: b\0c"), "f:1:5: a control character, U+0000");
    assert_eq!(
        only_fault(b"a: \x1b[0m"),
        "f:1:4: a control character, U+001B"
    );
    assert_eq!(
        only_fault("a: \u{feff}b".as_bytes()),
        "f:1:4: a byte order mark within the text"
    );
}

#[test]
fn nesting_costs_no_stack() {
    for opening in ["[", "{a: ", "- ", "? ", "a: [ {", "- ? "] {
        let fault = only_fault(opening.repeat((1 << 20) / opening.len()).as_bytes());
        assert!(fault.ends_with(": nested deeper than 32"), "{fault}");
    }
    let deepest = format!("a: {}", "[".repeat(31) + &"]".repeat(31));
    assert!(
        !parse("f", deepest.as_bytes())
            .unwrap_err()
            .to_string()
            .contains("deeper")
    );
}

#[test]
fn a_bomb_of_aliases_does_not_go_off() {
    let mut bomb = "a: &a [x, x]\n".to_owned();
    for (name, before) in ('b'..='z').zip('a'..) {
        bomb.push_str(&format!("{name}: &{name} [*{before}, *{before}]\n"));
    }
    let faults = parse("f", bomb.as_bytes()).unwrap_err();
    assert!(
        faults
            .to_string()
            .contains("anchors and aliases are not supported")
    );
}

#[test]
fn large_texts_of_every_sort_end_soon() {
    let fill = |unit: &str| unit.repeat(LARGE / unit.len());
    let numbered = |make: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for n in 0.. {
            let next = make(n);
            if text.len() + next.len() > LARGE {
                return text;
            }
            text.push_str(&next);
        }
        text
    };
    let one_function = |routes: &str| {
        format!("service: s\nfunctions:\n  f:\n    binary: b\n    routes:\n{routes}")
    };
    let cut = |text: String| text.chars().take(LARGE).collect::<String>();
    let domains: String = (0..50_000).map(|n| format!("d{n},")).collect();
    let many_hosts = |name: &str, routes: usize| {
        let routes: String = (0..routes).map(|n| format!("{{path: /{n}}},")).collect();
        format!("  {name}: {{binary: b, domains: [{name}.x], routes: [{routes}]}}\n")
    };
    for (what, text) in [
        ("keys", numbered(&|n| format!("k{n}: 1\n"))),
        ("one key again and again", fill("k: 1\n")),
        ("a long key", format!("{}: 1\n", "k".repeat(500_000))),
        ("a long key with many below", {
            let below = (0..50_000)
                .map(|n| format!("    k{n}: 1\n"))
                .collect::<String>();
            format!("functions:\n  {}:\n{below}", "k".repeat(150_000))
        }),
        (
            "a long scalar",
            format!("service: {}\n", "s".repeat(500_000)),
        ),
        ("a flow list", format!("[{}]", "a,".repeat(250_000))),
        ("an open flow list", fill("a, ").replacen('a', "[", 1)),
        ("flow pairs", format!("[{}]", "a: b, ".repeat(75_000))),
        ("block list", fill("- a\n")),
        ("quotes", fill("\"a\" ")),
        ("lines of a plain scalar", fill("a\n")),
        ("blanks", fill(" ")),
        ("line breaks", fill("\n")),
        ("comments", fill("#\n")),
        ("documents", fill("---\n")),
        ("anchors", numbered(&|n| format!("k{n}: &a{n} b\n"))),
        ("tags", fill("- !t a\n")),
        ("directives", fill("%FOO bar\n")),
        ("block scalars", numbered(&|n| format!("k{n}: |\n  a\n"))),
        (
            "functions",
            format!(
                "service: s\nfunctions:\n{}",
                cut(numbered(&|n| format!("  f{n}: {{}}\n")))
            ),
        ),
        (
            "routes",
            one_function(&numbered(&|n| format!("      - {{ path: /{n} }}\n"))),
        ),
        (
            "one route again and again",
            one_function(&fill("      - { path: / }\n")),
        ),
        (
            "parameters",
            one_function(&format!(
                "      - path: {}\n",
                numbered(&|n| format!("/{{p{n}}}"))
            )),
        ),
        ("hosts and routes", {
            let routes = "{path: /a},".repeat(5_000);
            format!(
                "service: s\nfunctions:\n  a: {{binary: b, domains: [{domains}], routes: [{routes}]}}\n"
            )
        }),
        ("functions with the same routes", {
            let functions: String = (0..450).map(|n| many_hosts(&format!("f{n}"), 80)).collect();
            format!("service: s\nfunctions:\n{functions}")
        }),
    ] {
        let text = if text.len() > LARGE { cut(text) } else { text };
        let start = Instant::now();
        let _ = parse("f", text.as_bytes());
        let took = start.elapsed();
        // Much more than an unoptimised build needs; quadratic run time would take minutes.
        assert!(took < Duration::from_secs(30), "{what} took {took:?}");
        println!("{what}: {} bytes, {took:?}", text.len());
    }
}
