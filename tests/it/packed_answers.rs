//! Answers that come packed though nobody asked for that, over a real socket: what is made of the body, whatever the
//! server sends as one, and that a small answer which unpacks to a large one takes no memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;

use counterfill::broker::http::{Answer, Http, Orders, Trouble};

/// What [`BODY`] is packed: by zlib 1.2.13, not by the library that unpacks it here.
const PACKED: &str = "1f8b0800000000000203ab564acc2b2e4f2d52b252aa4c2d56d2512ac90732137372144a32124b14ca138b15128b\
                      b35353946a010ad1c0ce2a000000";
const BODY: &str = r#"{"answer":"yes","to":"all that was asked"}"#;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Serves one request by writing this much more than headers; and what was asked.
fn serve(write: impl FnOnce(&mut TcpStream) + Send + 'static) -> (Http, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut some = [0; 1_024];
            let read = stream.read(&mut some).unwrap();
            asked.extend_from_slice(&some[..read]);
        }
        write(&mut stream);
        String::from_utf8(asked).unwrap()
    });
    (Http::new(&base, None, Orders::Alone).unwrap(), server)
}

fn answer(status: u16, coding: &'static str, body: Vec<u8>) -> (Result<Answer, Trouble>, String) {
    let (http, server) = serve(move |stream| {
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
        )
        .unwrap();
        stream.write_all(&body).unwrap();
    });
    let answer = http.read("/", &[], &[]);
    (answer, server.join().unwrap())
}

/// Its name; status, coding and body; and what is read of that, if anything.
type Row = (&'static str, u16, &'static str, Vec<u8>, Option<String>);

#[test]
fn what_comes_packed_is_unpacked_or_was_not_read() {
    let packed = bytes(PACKED);
    let (half, last) = (packed.len() / 2, packed.len() - 1);
    let changed = |at: usize| {
        let mut changed = packed.clone();
        changed[at] ^= 0x10;
        changed
    };
    let rows: Vec<Row> = vec![
        ("packed", 200, "gzip", packed.clone(), Some(BODY.into())),
        ("packed, a no", 404, "gzip", packed.clone(), Some(BODY.into())),
        ("packed in two parts", 200, "gzip", [&packed[..], &packed].concat(), Some(BODY.repeat(2))),
        ("plain, and says so", 200, "identity", BODY.into(), Some(BODY.into())),
        ("without its last byte", 200, "gzip", packed[..last].to_vec(), None),
        ("half of it", 200, "gzip", packed[..half].to_vec(), None),
        ("nothing of it", 201, "gzip", Vec::new(), None),
        ("another byte in its middle", 200, "gzip", changed(half), None),
        ("another sum", 200, "gzip", changed(last - 5), None),
        ("another length", 200, "gzip", changed(last), None),
        ("more after its end", 200, "gzip", [&packed[..], b"{}"].concat(), None),
        ("plain, and says otherwise", 200, "gzip", BODY.into(), None),
    ];
    for (name, status, coding, body, unpacked) in rows {
        let (answer, asked) = answer(status, coding, body);
        let answer = answer.unwrap_or_else(|trouble| panic!("{name}: {trouble:?}"));
        // Whatever the body is, the status stands: a yes to an order is one.
        assert_eq!((answer.status, answer.whole), (status, unpacked.is_some()), "{name}");
        assert_eq!(String::from_utf8(answer.body).unwrap(), unpacked.unwrap_or_default(), "{name}");
        assert!(!asked.to_lowercase().contains("accept-encoding"), "{name}: nobody asked for it: {asked}");
    }
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The memory is the whole process's, so it is measured in one that does nothing else.
#[test]
fn a_bomb_is_left_when_it_is_larger_than_any_answer() {
    let program = std::env::current_exe().unwrap();
    let alone = ["--exact", "packed_answers::the_bomb_alone", "--ignored", "--nocapture"];
    let out = Command::new(program).args(alone).output().unwrap();
    let (told, complaint) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && told.contains("1 passed"), "{told}\n{complaint}");
}

#[test]
#[ignore = "a_bomb_is_left_when_it_is_larger_than_any_answer starts it in a process of its own"]
fn the_bomb_alone() {
    // Without an end: only a client that leaves ends the server's loop.
    let (http, server) = serve(|stream| {
        let mut mebibyte = GzEncoder::new(Vec::new(), Compression::best());
        mebibyte.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = mebibyte.finish().unwrap();
        assert!(packed.len() < 2_048, "{}", packed.len());
        write!(stream, "HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        while write!(stream, "{:x}\r\n", packed.len()).is_ok()
            && stream.write_all(&packed).is_ok()
            && stream.write_all(b"\r\n").is_ok()
        {}
    });
    let before = peak_kib();
    let answer = http.read("/", &[], &[]).unwrap();
    assert_eq!((answer.status, answer.whole, answer.body.len()), (200, false, 0));
    drop(http);
    server.join().unwrap();
    let grown = peak_kib() - before;
    assert!(grown < 64 << 10, "{grown} KiB for an answer of which 10 MiB may be read");
}
