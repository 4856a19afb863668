//! The table of settings as documents: `.env.example` and `docs/reference/configuration.md`.
//!
//! Both are committed, and a test holds them equal to what is written here.

use std::fmt::Write;

use super::settings::{Carries, GROUPS, Need, Setting};

/// `.env.example`: required settings are blank, the others are comments that say their default or an example.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every setting of counterfill. Made by `bot config template`; do not edit by hand.\n\
         #\n\
         # The bot reads no file by itself: hand a copy to what starts it (docker run --env-file, compose env_file,\n\
         # systemd EnvironmentFile). Everything behind the first = is the value: no quotes, no comment behind it.\n\
         # An empty value counts as missing. `bot config check` says what is still missing or wrong.\n",
    );
    for group in &GROUPS {
        // Writing into a String cannot fail.
        let _ = write!(text, "\n# ==== {} ====\n", group.title);
        for setting in group.settings {
            let _ = write!(text, "\n{}", example_of(setting));
        }
    }
    text
}

fn example_of(setting: &Setting) -> String {
    let (name, form, example) = (setting.name, setting.form, setting.example);
    let mut text = format!("# {}.\n# A value is {form}.\n", setting.help);
    if let Some(file) = setting.file_variable() {
        let _ =
            writeln!(text, "# Better: {file}=/path/of/a/file/that/holds/it, or a systemd credential {name}.");
    }
    let _ = match setting.need {
        Need::Required => writeln!(text, "# Example: {name}={example}\n{name}="),
        Need::Default(default) => writeln!(text, "#{name}={default}"),
        Need::Optional => writeln!(text, "# Not set by default. Example:\n#{name}={example}"),
    };
    text
}

/// `docs/reference/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Every setting, in one table per group. Made by `bot config template --markdown`; do not edit by hand.\n\n\
         A setting is looked for as a flag, then in the environment, then as a file, then as its default. An empty\n\
         value counts as missing. The bot reads no `.env` file; the environment is what the process is given.\n\n\
         - `bot config template` prints an `.env` file to fill in.\n\
         - `bot config check` names everything that is missing or wrong at once (exit 78), or says that it is complete.\n\
         - `bot config show` prints every setting with its value and where it came from.\n",
    );
    for group in &GROUPS {
        let _ = write!(
            text,
            "\n## {}\n\n| variable | flag | value | default | meaning |\n|---|---|---|---|---|\n",
            group.title
        );
        for setting in group.settings {
            let _ = writeln!(text, "{}", table_row(setting));
        }
    }
    text.push_str(FILES);
    text
}

const FILES: &str = "
## Values in files

A variable that carries a key or a secret can be given in three ways, of which exactly one may be used:

1. `NAME`, the value itself;
2. `NAME_FILE`, the path of a file that holds it (a Docker or Kubernetes secret); one newline at its end is cut;
3. a file `NAME` in `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`).

A flag beats all three, but every user of the machine can read a command line. In listings, errors and logs such a
value appears as scheme and host at most. For any other variable `NAME_FILE` is refused: it would be passed over.
";

fn table_row(setting: &Setting) -> String {
    let name = setting.name;
    let variable = match setting.carries {
        Carries::Nothing => format!("`{name}`"),
        Carries::Key | Carries::Secret => format!("`{name}`, `{name}_FILE`"),
    };
    let flag = setting.flag().map_or_else(|| "none".to_owned(), |flag| format!("`--{flag}`"));
    let default = match setting.need {
        Need::Required => "required".to_owned(),
        Need::Default(default) => format!("`{default}`"),
        Need::Optional => "not set".to_owned(),
    };
    format!("| {variable} | {flag} | {} | {default} | {} |", setting.form, setting.help)
}
