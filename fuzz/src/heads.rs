//! Fuzzes the gateway's checks of a request's head, and its routes, with all bytes that parse as a head: nothing may
//! panic, and no function may get a path parameter with a `..` segment or a NUL.

use std::sync::LazyLock;

use hearth_gateway::route::Table;
use hearth_gateway::target::{Fields, Target};

const MANIFEST: &[u8] = br#"
service: fuzz
functions:
  a:
    domains: [a.example, "*.b.example"]
    routes: [{ path: / }, { path: "/items/{id}", method: GET }, { path: "/items/new" }]
    binary: a
  b:
    routes: [{ path: "/{rest+}" }, { path: "/x/{a}/y/{b}", method: POST }]
    binary: b
"#;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let parsed = hearth_manifest::parse("edge.yaml", MANIFEST).expect("it is a good manifest");
    Table::new(&parsed.manifest)
});

/// Parses the bytes as a head and finds its route.
pub fn run(bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut fields);
    if !matches!(head.parse(bytes), Ok(httparse::Status::Complete(_))) {
        return;
    }
    let mut request = http::Request::builder()
        .method(head.method.unwrap_or_default())
        .uri(head.path.unwrap_or_default());
    for field in head.headers.iter() {
        request = request.header(field.name, field.value);
    }
    let Ok(request) = request.body(()) else {
        return;
    };
    let (parts, ()) = request.into_parts();
    let Ok(target) = Target::of(&parts, &Fields::of(&parts)) else {
        return;
    };
    assert!(
        !target
            .host
            .bytes()
            .any(|byte| byte.is_ascii_uppercase() || byte == b'/')
    );
    if let Ok(found) = TABLE.find(&target.host, target.path, parts.method.as_str()) {
        for (_, value) in found.params() {
            assert!(!value.contains('\0'));
            assert!(
                !value.split('/').any(|segment| segment == ".."),
                "{value:?}"
            );
        }
    }
}
