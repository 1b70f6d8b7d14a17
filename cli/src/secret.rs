//! `hearth secret`: stores the values that a manifest refers to, in the platform's state directory.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, ensure};
use hearth_manifest::is_secret_name;
use hearth_supervisor::load::load;
use hearth_supervisor::secret::{SecretError, Secrets};

use crate::args::{OneSecret, SecretVerb, State};
use crate::out::{self, Outcome};

pub(crate) fn secret(verb: &SecretVerb) -> anyhow::Result<Outcome> {
    match verb {
        SecretVerb::Set(one) => set(one),
        SecretVerb::Remove(one) => remove(one),
        SecretVerb::List { manifest, state } => list(manifest, state),
    }
}

fn of(one: &OneSecret) -> Secrets {
    Secrets::of(one.state.of(&one.manifest).secrets())
}

fn set(one: &OneSecret) -> anyhow::Result<Outcome> {
    ensure!(
        is_secret_name(&one.name),
        "`{}` cannot be the name of a secret: letters, digits, `_` and `-`, a letter first",
        one.name
    );
    let mut input = std::io::stdin();
    if input.is_terminal() {
        out::talk("the value, then Enter and Ctrl-D:");
    }
    let mut value = Vec::new();
    input
        .read_to_end(&mut value)
        .context("cannot read the value from stdin")?;
    ensure!(!value.trim_ascii().is_empty(), "no value came on stdin");
    let secrets = of(one);
    let path = secrets.path(&one.name);
    secrets
        .set(&one.name, &value)
        .with_context(|| format!("cannot write {}", path.display()))?;
    secrets.value(&one.name)?;
    Ok(Outcome::Done)
}

fn remove(one: &OneSecret) -> anyhow::Result<Outcome> {
    let path = of(one).path(&one.name);
    let removed = of(one)
        .remove(&one.name)
        .with_context(|| format!("cannot remove {}", path.display()))?;
    if !removed {
        out::talk(format_args!("hearth: there is no secret `{}`", one.name));
        return Ok(Outcome::Failed);
    }
    Ok(Outcome::Done)
}

fn list(manifest: &Path, state: &State) -> anyhow::Result<Outcome> {
    let secrets = Secrets::of(state.of(manifest).secrets());
    for name in secrets.names().context("cannot list them")? {
        out::data(name)?;
    }
    // Without a valid manifest, it is unknown which secrets are missing.
    if let Ok(parsed) = load(manifest) {
        let missing = |name: &&str| matches!(secrets.value(name), Err(SecretError::Missing(_)));
        for name in parsed.manifest.secrets().filter(missing) {
            out::talk(format_args!("missing: {name}"));
        }
    }
    Ok(Outcome::Done)
}
