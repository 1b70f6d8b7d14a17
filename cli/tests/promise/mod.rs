//! Reads the commands in the console blocks of a document, and the output that it shows for each.

/// The commands in a text's console blocks that begin with one of `programs`, with their output.
pub(crate) fn commands(text: &str, programs: &[&str]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.strip_prefix("$ ") {
                Some(command) => found.push((command.to_owned(), String::new())),
                None => {
                    let (_, output) = found.last_mut().unwrap();
                    output.push_str(line);
                    output.push('\n');
                }
            },
        }
    }
    found.retain(|(command, _)| programs.iter().any(|program| command.starts_with(program)));
    found
}
