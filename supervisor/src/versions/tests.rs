//! Tests with a history of small manifests, in a short notation.

use super::*;

/// A manifest with these functions: their names, a setting and a program.
fn whole(functions: &[(&str, &str, &str)]) -> Whole {
    let mut text = "service: s\nfunctions:\n".to_owned();
    let mut programs = BTreeMap::new();
    for (name, setting, program) in functions {
        text.push_str(&format!(
            "  {name}: {{ routes: [{{ path: /{name} }}], binary: b, env: {{ A: \"{setting}\" }} }}\n"
        ));
        let program = Program {
            sha256: (*program).to_owned(),
            name: "b".to_owned(),
            len: 1,
        };
        programs.insert((*name).to_owned(), program);
    }
    Whole {
        manifest: parsed(&text).unwrap(),
        programs,
    }
}

/// `number: function=release ...; changes` for each version, the current one with a star.
fn told(history: &History) -> String {
    let told = history.versions.iter().map(|one| {
        let star = if one.number == history.current {
            "*"
        } else {
            ""
        };
        let functions: Vec<String> = one
            .functions
            .iter()
            .map(|(name, edition)| format!("{name}={edition}"))
            .collect();
        let changes: Vec<String> = one
            .changes
            .iter()
            .map(|one| format!("{} {}", one.function.as_deref().unwrap_or("-"), one.what))
            .collect();
        format!(
            "{}{star}: {}; {}",
            one.number,
            functions.join(" "),
            changes.join(", ")
        )
    });
    told.collect::<Vec<_>>().join("\n")
}

#[test]
fn versions_are_counted_and_functions_that_did_not_change_keep_their_edition() {
    let mut history = History::default();
    history.accept(&whole(&[("a", "1", "x"), ("b", "1", "x")]), 0, 3);
    history.accept(&whole(&[("a", "1", "y"), ("b", "1", "x")]), 0, 3);
    history.accept(&whole(&[("a", "1", "y"), ("b", "1", "x")]), 0, 3);
    history.accept(&whole(&[("a", "2", "z"), ("c", "1", "x")]), 0, 3);
    assert_eq!(
        told(&history),
        "1: a=1 b=1; \n2: a=2 b=1; a program\n\
         3*: a=3 c=3; a program and settings, b removed, c added"
    );
}

#[test]
fn a_rollback_of_everything_goes_back_one_at_a_time_and_the_file_is_where_it_was() {
    let mut history = History::default();
    for setting in ["1", "2", "3"] {
        history.accept(&whole(&[("a", setting, "x")]), 0, 3);
    }
    for expect in [2, 1] {
        let to = history.before(None).unwrap();
        assert_eq!(to, expect);
        history.back(to);
    }
    let none = RollbackError::NoneBefore { current: 1 };
    assert_eq!(history.before(None), Err(none));
    assert_eq!(history.before(Some(3)), Ok(3));
    assert_eq!(history.before(Some(9)), Err(RollbackError::NotKept(9)));
    assert_eq!(history.whole(1).unwrap(), whole(&[("a", "1", "x")]));
    history.accept(&whole(&[("a", "3", "x")]), 0, 3);
    assert_eq!((history.current, history.versions.len()), (3, 3));
    // A manifest that the file had before the last one becomes another version.
    history.accept(&whole(&[("a", "2", "x")]), 0, 3);
    assert_eq!(history.current, 4);
    assert_eq!(history.before(None), Ok(3));
}

#[test]
fn a_rollback_of_one_function_leaves_the_others_and_goes_on_from_there() {
    let mut history = History::default();
    history.accept(&whole(&[("a", "1", "x"), ("b", "1", "x")]), 0, 3);
    history.accept(&whole(&[("a", "2", "x"), ("b", "1", "x")]), 0, 3);
    history.accept(&whole(&[("a", "3", "x"), ("b", "2", "x")]), 0, 3);
    for (expect, setting) in [(2, "2"), (1, "1")] {
        let edition = history.edition_before("a", None).unwrap();
        assert_eq!(edition, expect);
        let mixed = history.with_edition("a", edition).unwrap();
        assert_eq!(mixed, whole(&[("a", setting, "x"), ("b", "2", "x")]));
        history.back_one("a", edition, &mixed, 0, 3);
    }
    assert_eq!(
        told(&history),
        "1: a=1 b=1; \n2: a=2 b=1; a settings\n3: a=3 b=3; a settings, b settings\n\
         4: a=2 b=3; a settings\n5*: a=1 b=3; a settings"
    );
    let none = RollbackError::NoEditionBefore {
        function: "a".to_owned(),
        current: 1,
    };
    assert_eq!(history.edition_before("a", None), Err(none));
    assert_eq!(history.edition_before("a", Some(2)), Ok(2));
    let unknown = RollbackError::NoFunction("c".to_owned());
    assert_eq!(history.edition_before("c", None), Err(unknown));
    // A reload of the file brings its own release back.
    history.accept(&whole(&[("a", "3", "x"), ("b", "2", "x")]), 0, 3);
    assert_eq!(history.current, 3);
}

#[test]
fn the_last_are_kept_what_is_served_and_what_they_need_and_no_more() {
    let mut history = History::default();
    for program in ["1", "2", "3", "4", "5"] {
        history.accept(&whole(&[("a", "1", program), ("b", "1", "b")]), 0, 2);
    }
    let programs = |history: &History| -> String {
        let all = history.programs();
        all.iter().map(|one| one.sha256.as_str()).collect()
    };
    assert_eq!(programs(&history), "45b");
    history.back(4);
    history.accept(&whole(&[("a", "1", "6")]), 0, 2);
    assert_eq!(programs(&history), "56b", "version 5 has b still");
    history.accept(&whole(&[("a", "1", "7")]), 0, 2);
    assert_eq!(programs(&history), "67");
}

#[test]
fn an_edition_whose_routes_are_anothers_by_now_makes_no_manifest() {
    let text = |a: &str, b: &str| {
        let route = |path: &str| format!("{{ routes: [{{ path: {path} }}], binary: b }}");
        let text = format!(
            "service: s\nfunctions:\n  a: {}\n  b: {}\n",
            route(a),
            route(b)
        );
        Whole {
            manifest: parsed(&text).unwrap(),
            ..whole(&[("a", "1", "x"), ("b", "1", "x")])
        }
    };
    let mut history = History::default();
    history.accept(&text("/one", "/two"), 0, 3);
    history.accept(&text("/three", "/one"), 0, 3);
    let error = history.with_edition("a", 1).unwrap_err().to_string();
    assert!(error.contains("is claimed by"), "{error}");
}

#[test]
fn what_was_saved_is_read_again_and_what_is_torn_is_noticed() {
    let name = format!("hearth-versions-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    let path = directory.join("versions.json");
    assert_eq!(load(&path).unwrap(), History::default());
    let mut history = History::default();
    history.accept(&whole(&[("a", "1", "x")]), 0, 3);
    save(&path, &history).unwrap();
    assert_eq!(load(&path).unwrap(), history);
    let text = fs::read(&path).unwrap();
    for cut in [0, 10, 65, text.len() / 2, text.len() - 1] {
        fs::write(&path, &text[..cut]).unwrap();
        assert!(matches!(load(&path), Err(HistoryError::Torn)), "{cut}");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn versions_without_their_programs_are_forgotten() {
    let mut history = History::default();
    history.accept(&whole(&[("a", "1", "x"), ("b", "1", "b")]), 0, 3);
    history.accept(&whole(&[("a", "1", "y"), ("b", "1", "b")]), 0, 3);
    assert_eq!(history.forget_without(|one| one.sha256 != "x"), [1]);
    assert_eq!(told(&history), "2*: a=2 b=1; a program");
}
