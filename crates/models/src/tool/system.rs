//! `env_vars`, `shell`, `process`: this machine, as far as the operator allows. Without
//! `ALLOWED_ENV` and `ALLOWED_COMMANDS`, that is nothing.

use std::{process::Stdio, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{io::AsyncReadExt as _, process::Command};

use super::{Arguments, ToolError, failed};
use crate::Settings;

/// How long a program may run.
const RUN_MAX: Duration = Duration::from_secs(30);
/// What is kept of each of a program's two outputs.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// The most arguments of a program.
const ARGUMENTS_MAX: usize = 256;
/// Where programs are looked for.
pub(super) const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// What a variable's name may not contain, whatever is allowed.
const SENSITIVE: [&str; 4] = ["KEY", "SECRET", "PASSWORD", "TOKEN"];

/// `env_vars`.
pub(super) fn env_vars(
    settings: &Settings,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    if settings.allowed_env.is_empty() {
        return Err(failed(
            "no environment variable may be read: the operator lists those that may in ALLOWED_ENV",
        ));
    }
    let pattern = arguments.text_or_none("pattern")?.unwrap_or("*");
    let fits = |name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let found: Map<String, Value> = settings
        .allowed_env
        .iter()
        .filter(|name| !is_sensitive(name) && fits(name))
        .filter_map(|name| {
            let value = settings.keys.key(name)?;
            Some((name.clone(), Value::from(value.expose())))
        })
        .collect();
    Ok(Value::Object(found).to_string())
}

fn is_sensitive(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SENSITIVE.iter().any(|word| upper.contains(word))
}

/// `shell`.
pub(super) async fn shell(
    settings: &Settings,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let words = words(arguments.text("command")?)?;
    let Some((program, rest)) = words.split_first() else {
        return Err(ToolError::Arguments("`command` is empty".to_owned()));
    };
    run(settings, program, rest).await
}

/// `process`.
pub(super) async fn process(
    settings: &Settings,
    arguments: &Arguments<'_>,
) -> Result<String, ToolError> {
    let args = match arguments.value("args") {
        None => Vec::new(),
        Some(Value::Array(args)) => args
            .iter()
            .map(|arg| arg.as_str().map(ToOwned::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ToolError::Arguments("`args` must be a list of texts".to_owned()))?,
        Some(_) => {
            return Err(ToolError::Arguments(
                "`args` must be a list of texts".to_owned(),
            ));
        }
    };
    run(settings, arguments.text("program")?, &args).await
}

/// Whether the operator allows a program, by the name as it stands in `ALLOWED_COMMANDS`.
pub(super) fn check_command(settings: &Settings, program: &str) -> Result<(), ToolError> {
    if settings
        .allowed_commands
        .iter()
        .any(|allowed| allowed == program)
    {
        return Ok(());
    }
    Err(failed(format!(
        "the program {program:?} may not be run: the operator lists those that may in ALLOWED_COMMANDS"
    )))
}

async fn run(settings: &Settings, program: &str, args: &[String]) -> Result<String, ToolError> {
    check_command(settings, program)?;
    if args.len() > ARGUMENTS_MAX {
        return Err(ToolError::Arguments("more than 256 arguments".to_owned()));
    }
    let mut command = Command::new(program);
    command
        .args(args)
        // The program's environment holds keys: it stays here.
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(folder) = settings.allowed_paths.first() {
        command.current_dir(folder);
    }
    let mut child = command
        .spawn()
        .map_err(|error| failed(format!("{program} cannot be started: {error}")))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let finished = async {
        let (out, err) = tokio::join!(head(out), head(err));
        (child.wait().await, out, err)
    };
    let (status, out, err) = tokio::time::timeout(RUN_MAX, finished)
        .await
        .map_err(|_| failed(format!("{program} did not end within {RUN_MAX:?}")))?;
    let status = status.map_err(|error| failed(format!("{program}: {error}")))?;
    Ok(json!({"exitCode": status.code(), "stdout": out, "stderr": err}).to_string())
}

/// The beginning of an output; the rest is read and thrown away, so that the program can end.
async fn head(output: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut output) = output else {
        return String::new();
    };
    let mut bytes = Vec::new();
    let _ = (&mut output)
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The words of a command, quoted with `'` or `"`, escaped with a backslash outside of `'`. What
/// a shell would act on is refused, since a model that writes it expects a shell.
fn words(command: &str) -> Result<Vec<String>, ToolError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('"') | None, '\\') => {
                let next = chars.next().unwrap_or('\\');
                word.get_or_insert_default().push(next);
            }
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '&' | ';' | '<' | '>' | '`' | '$' | '\n' | '*') => {
                return Err(ToolError::Arguments(format!(
                    "{c:?} would need a shell, and there is none: give one program and its arguments, quoted"
                )));
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(ToolError::Arguments("a quote is not closed".to_owned()));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_quoted_and_a_shells_signs_refused() {
        assert_eq!(
            words(r#"echo  'a b' "c \"d\"" e\ f """#),
            Ok(["echo", "a b", "c \"d\"", "e f", ""]
                .map(String::from)
                .to_vec())
        );
        for wrong in [
            "a | b", "a; b", "a `b`", "a $(b)", "a > b", "a 'b", "a && b",
        ] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_secrets_are_known() {
        assert!(is_sensitive("my_api_key") && is_sensitive("GITHUB_TOKEN"));
        assert!(!is_sensitive("PYTHONPATH"));
    }
}
