//! The control socket's path and the answers behind it, as somebody else left them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

use counterfill::serve::control::{self, ControlCommand};

use super::assert_rows;

/// Behind a socket that answers the first request with this line, or hangs up where it is empty.
fn asked(folder: &Path, line: &'static str) -> String {
    let path = folder.join(format!("{}.sock", line.len()));
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
        let _ = stream.write_all(line.as_bytes());
    });
    told(folder, control::ask(&path, &ControlCommand::Status {}).map(drop))
}

fn told<T>(folder: &Path, done: Result<T, control::ControlError>) -> String {
    done.map_or_else(|error| error.to_string(), |_| "well".to_owned())
        .replace(&folder.display().to_string(), "DIR")
}

#[tokio::test]
async fn what_stands_in_a_sockets_place() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("file"), "").unwrap();
    std::fs::create_dir_all(dir.join("taken.new/x")).unwrap();
    let below_a_file = dir.join("file").join(control::SOCKET_NAME);
    let status = ControlCommand::Status {};
    let nameless = dir.join("a".repeat(100)).join("..");
    let bytes = nameless.as_os_str().len();
    assert_rows(vec![
        ("bound below a file", told(dir, control::bind(&below_a_file)), "DIR/file/control.sock: Not a directory (os error 20)".to_owned()),
        ("asked below a file", told(dir, control::ask(&below_a_file, &status)), "DIR/file/control.sock: Not a directory (os error 20)".to_owned()),
        (
            "a folder where it is made",
            told(dir, control::bind(&dir.join("taken.sock"))),
            "DIR/taken.sock: Is a directory (os error 21)".to_owned(),
        ),
        (
            "a long path without a name",
            told(dir, control::ask(&nameless, &status)),
            format!(
                "DIR/{}/.. has {bytes} bytes, and the path of a socket at most 103: move the data directory to a shorter \
                 path (DATABASE_URL)",
                "a".repeat(100)
            ),
        ),
        (
            "an answer that is none",
            asked(dir, "garbage\n"),
            "the bot's answer makes no sense (expected value at line 1 column 1); is it of another version? See `bot version`".to_owned(),
        ),
        (
            "no answer",
            asked(dir, ""),
            "the bot's answer makes no sense (it hung up without one); is it of another version? See `bot version`".to_owned(),
        ),
    ]);
}
