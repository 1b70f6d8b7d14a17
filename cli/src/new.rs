//! `hearth new`: creates a project that builds and serves at once. The project contains the SDK.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::args::{New, Template};
use crate::out::{self, Outcome};

/// The SDK's sources, and a lock file with the dependency versions that the SDK was tested with. `cli/build.rs`
/// generates this module.
mod sources {
    include!(concat!(env!("OUT_DIR"), "/sources.rs"));
}

const SERDE: &str = "serde = { version = \"1\", features = [\"derive\"] }\n";

/// What differs between the templates.
struct Kind {
    main: &'static str,
    features: &'static str,
    /// Lines for `[dependencies]`, in addition to the SDK.
    dependencies: &'static str,
    function: &'static str,
    /// Shell commands that the user runs before `hearth dev`, each after a line break.
    first: &'static str,
    /// A command that the user can try once the project serves.
    then: &'static str,
}

impl Template {
    fn kind(self) -> Kind {
        match self {
            Template::Hello => Kind {
                main: include_str!("../templates/hello.rs"),
                features: "",
                dependencies: "",
                function: "routes: [{ path: / }, { path: \"/hello/{name}\" }]",
                first: "",
                then: "curl http://127.0.0.1:8080/hello/ada",
            },
            Template::JsonApi => Kind {
                main: include_str!("../templates/json-api.rs"),
                features: "",
                dependencies: SERDE,
                function: "routes: [{ path: /notes }, { path: \"/notes/{id}\" }]",
                first: "",
                then: "curl -i http://127.0.0.1:8080/notes -d '{\"text\":\"remember\"}'",
            },
            Template::Postgres => Kind {
                main: include_str!("../templates/postgres.rs"),
                features: "\"postgres\"",
                dependencies: SERDE,
                function: "routes: [{ path: /notes }, { path: \"/notes/{id}\" }]\n    concurrency: 16\n    \
                           resources: { postgres: { secret: DATABASE_URL } }",
                first: "\n  echo 'postgres://USER:PASSWORD@HOST/DATABASE' | hearth secret set DATABASE_URL",
                then: "curl -i http://127.0.0.1:8080/notes -d '{\"text\":\"remember\"}'",
            },
            Template::Redis => Kind {
                main: include_str!("../templates/redis.rs"),
                features: "\"redis\"",
                dependencies: "",
                function: "routes: [{ path: / }, { path: \"/{page}\" }]\n    concurrency: 16\n    \
                           resources: { redis: \"redis://127.0.0.1:6379\" }",
                first: "",
                then: "curl http://127.0.0.1:8080/about",
            },
            Template::Sse => Kind {
                main: include_str!("../templates/sse.rs"),
                features: "\"async\"",
                dependencies: "tokio = { version = \"1\", features = [\"time\"] }\n",
                function: "routes: [{ path: /, method: GET }]\n    concurrency: 256",
                first: "",
                then: "curl -N http://127.0.0.1:8080/",
            },
        }
    }
}

pub(crate) fn new(args: &New) -> anyhow::Result<Outcome> {
    let name = args.path.file_name().and_then(|name| name.to_str());
    let name = name.context("a project wants a name")?;
    let good = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c));
    ensure!(
        good && name.len() <= 63 && name != "test",
        "`{name}` cannot be the name of a project: lower-case letters, digits, `_` and `-`, a letter first"
    );
    ensure!(
        !args.path.exists(),
        "{} is there already",
        args.path.display()
    );
    let kind = args.template.kind();
    for (place, text) in sources::FILES {
        write(&args.path.join("vendor/hearth").join(place), text)?;
    }
    write(&args.path.join("Cargo.toml"), &cargo(name, &kind))?;
    write(&args.path.join("Cargo.lock"), sources::LOCK)?;
    write(&args.path.join("edge.yaml"), &manifest(name, &kind))?;
    write(&args.path.join("src/main.rs"), kind.main)?;
    write(
        &args.path.join(".gitignore"),
        "/target\n/bin\n/dist\n.hearth\n",
    )?;
    let shown = args.path.display();
    out::talk(format_args!(
        "made {shown}:\n\n  cd {shown}{}\n  hearth dev\n\nand, once it serves:\n\n  {}\n",
        kind.first, kind.then
    ));
    Ok(Outcome::Done)
}

fn cargo(name: &str, kind: &Kind) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n\
         hearth-sdk = {{ path = \"vendor/hearth/sdk\", features = [{}] }}\n{}\n\
         # Small and quick to start.\n[profile.release]\nlto = \"fat\"\ncodegen-units = 1\nstrip = true\n\n\
         [workspace]\nexclude = [\"vendor\"]\n",
        kind.features, kind.dependencies
    )
}

fn manifest(name: &str, kind: &Kind) -> String {
    format!(
        "service: {name}\n\ngateway:\n  listen: {{ http: \"127.0.0.1:8080\" }}\n  access_log: true\n\n\
         functions:\n  {name}:\n    binary: bin/{name}\n    {}\n",
        kind.function
    )
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}
