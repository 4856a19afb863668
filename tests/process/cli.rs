//! The command line from outside: what each verb prints, and the exit code it ends with.
//!
//! The cases are in `tests/cmd/*.trycmd`; `TRYCMD=overwrite cargo test --test process cli::` writes down what is printed now.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const BOT: &str = env!("CARGO_BIN_EXE_bot");
const AUTH: &str = env!("CARGO_BIN_EXE_auth");

/// What the cases find in their environment: the required settings, and nothing of whoever runs the tests.
const COMPLETE: [(&str, &str); 4] = [
    ("WS_RPC_URL", "wss://user:CANARY@rpc.example.com/v2/CANARY"),
    ("ORDERBOOK", "0xe522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D"),
    ("ORDER_OWNER", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    ("DEPLOYMENT_BLOCK", "41686926"),
];

fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The cases inherit the environment of this test, which is cargo's and the developer's. So the test starts itself
/// once more, alone, in a clean one.
#[test]
fn the_cases_hold() {
    const INSIDE: &str = "COUNTERFILL_CASES_RUN_CLEAN";
    if std::env::var_os(INSIDE).is_some() {
        let cases = trycmd::TestCases::new();
        cases.register_bins([("bot", Path::new(BOT)), ("auth", Path::new(AUTH))]);
        cases.case("tests/cmd/*.trycmd");
        return;
    }
    let mut inner = clean(std::env::current_exe().unwrap());
    inner.args(["--exact", "cli::the_cases_hold", "--nocapture"]).env(INSIDE, "1").envs(COMPLETE);
    if let Some(mode) = std::env::var_os("TRYCMD") {
        inner.env("TRYCMD", mode);
    }
    let (code, stdout, stderr) = run(&mut inner);
    assert_eq!(code, 0, "{stdout}\n{stderr}");
    assert!(!stdout.contains("CANARY") && !stderr.contains("CANARY"));
}

#[test]
fn no_case_shows_a_key() {
    let mut cases = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "trycmd") {
            cases += 1;
            let printed: Vec<_> = std::fs::read_to_string(&path)
                .unwrap()
                .lines()
                .filter(|line| !line.starts_with("$ ") && line.contains("CANARY"))
                .map(str::to_owned)
                .collect();
            assert!(printed.is_empty(), "{}: {printed:?}", path.display());
        }
    }
    assert!(cases > 0);
}

#[test]
fn an_empty_environment_ends_run_with_78_and_every_name() {
    let (code, stdout, stderr) = run(clean(BOT).arg("run"));
    assert_eq!((code, stdout.as_str()), (78, ""));
    for name in ["WS_RPC_URL", "ORDERBOOK", "ORDER_OWNER", "DEPLOYMENT_BLOCK"] {
        assert!(stderr.contains(&format!("  {name} is missing\n")), "{stderr}");
        assert!(stderr.contains(&format!("for example: {name}=")), "{stderr}");
    }
    assert!(stderr.starts_with("error: the configuration has 4 errors\n"), "{stderr}");
}

#[test]
fn a_bare_bot_prints_its_help_and_ends_with_64() {
    let (code, stdout, stderr) = run(&mut clean(BOT));
    let (_, help, _) = run(clean(BOT).arg("--help"));
    assert_eq!((code, stdout.as_str()), (64, ""));
    assert_eq!(stderr, help);
}

#[test]
#[cfg(unix)]
fn a_program_called_auth_is_bot_auth() {
    use std::os::unix::process::CommandExt;
    let said = (0, "no broker login needed for paper\n".to_owned(), String::new());
    for verb in ["login", "status", "rekey"] {
        assert_eq!(run(clean(BOT).args(["auth", verb])), said);
        assert_eq!(run(clean(AUTH).arg(verb)), said);
        assert_eq!(run(clean(BOT).arg0("/usr/local/bin/auth").arg(verb)), said);
        // The second binary is what it is, whatever its file is called.
        assert_eq!(run(clean(AUTH).arg0("bot").arg(verb)), said);
    }
    let (code, _, stderr) = run(clean(AUTH).arg("run"));
    assert_eq!(code, 64, "{stderr}");
}

#[test]
fn completions_begin_like_a_script_of_that_shell_and_know_the_verbs() {
    for (shell, beginning) in [("bash", "_bot() {"), ("zsh", "#compdef bot"), ("fish", "# Print")] {
        let (code, script, stderr) = run(clean(BOT).args(["completions", shell]));
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(script.starts_with(beginning), "{shell}: {}", script.lines().next().unwrap_or(""));
        for word in ["run", "positions", "replay", "template", "log-range-blocks"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn version_json_says_what_the_text_says() {
    let (code, line, _) = run(clean(BOT).args(["version", "--json"]));
    assert_eq!(code, 0);
    let version: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["revision"], "unknown");
    assert!(version["rustc"].as_str().unwrap().starts_with("rustc 1."));
    assert_eq!(version["sqlite"], rusqlite::version());
    assert_eq!(version.as_object().unwrap().len(), 4);
}

/// What a build step does to the finished binary.
#[test]
#[cfg(target_os = "linux")]
fn a_stamped_revision_is_shown() {
    const MARK: &[u8] = b"counterfill-revision=";
    const ROOM_BYTES: usize = 59;
    let mut binary = std::fs::read(BOT).unwrap();
    let found: Vec<usize> = binary
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .map(|(at, _)| at)
        .collect();
    let [at] = found[..] else { panic!("the mark must be there once: {found:?}") };
    let room = &mut binary[at + MARK.len()..][..ROOM_BYTES];
    assert_eq!(room, format!("{:ROOM_BYTES$}", "unknown").as_bytes());
    let revision = "0123456789abcdef0123456789abcdef01234567-dirty";
    room.copy_from_slice(format!("{revision:ROOM_BYTES$}").as_bytes());

    let folder = tempfile::tempdir().unwrap();
    let stamped = folder.path().join("bot");
    std::fs::copy(BOT, &stamped).unwrap();
    std::fs::write(&stamped, binary).unwrap();
    let (code, text, stderr) = run(clean(&stamped).arg("version"));
    assert_eq!(code, 0, "{stderr}");
    assert!(text.contains(&format!("\nrevision {revision}\n")), "{text}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    for verb in
        [&["config", "template"][..], &["config", "show", "--json"], &["completions", "bash"], &["version"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = clean(BOT).args(verb).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{verb:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{verb:?}");
    }
}

#[test]
fn config_show_json_is_one_object_per_setting() {
    let (code, lines, _) =
        run(clean(BOT).args(["config", "show", "--json", "--confirmations", "7"]).envs(COMPLETE));
    assert_eq!(code, 0);
    let rows: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), counterfill::config::settings::all().count());
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap();
    assert_eq!(row("WS_RPC_URL")["value"], "wss://rpc.example.com");
    assert_eq!(row("WS_RPC_URL")["source"], "environment");
    assert_eq!(row("CONFIRMATIONS")["value"], "7");
    assert_eq!(row("CONFIRMATIONS")["source"], "flag --confirmations");
    assert_eq!(row("LISTEN")["source"], "default");
    assert!(row("CASH")["value"].is_null());
    assert!(!lines.contains("CANARY"));
}
