//! The modules of one crate use each other in one direction: no cycle, neither here nor in another crate of ours.
//!
//! Arrows are found in the text: `crate::` and `super::` paths of every file, those of tests left out. What a crate takes
//! from another needs no look: cargo refuses a cycle of crates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![expect(clippy::disallowed_methods, reason = "a test may read")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which module uses which, by their names in lib.rs.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_module_stands_in_a_cycle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Of each crate an arrow that is there, so that one of which nothing was read is not taken for a straight one.
    let sources = [
        ("src", "cli", "verbs"),
        ("crates/broker/src", "schwab", "http"),
        ("crates/chain/src", "sweep", "reading"),
        ("crates/core/src", "engine", "ports"),
        ("crates/ledger/src", "open", "file"),
        ("crates/sim/src", "server", "world"),
        ("crates/trials/src", "runner", "world"),
    ];
    for (source, from, to) in sources {
        let arrows = arrows_of(&root.join(source));
        assert!(arrows[from].contains(to), "{source}: {arrows:#?}");
        assert_eq!(cycles(&arrows), BTreeSet::new(), "{source}");
    }
}

/// The modules below no other that are reached from themselves.
fn cycles(arrows: &Arrows) -> BTreeSet<&str> {
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut left = vec![from.to_owned()];
        while let Some(module) = left.pop() {
            let next = arrows.get(&module).into_iter().flatten();
            left.extend(next.filter(|next| reached.insert((*next).clone())).cloned());
        }
        reached
    };
    arrows.keys().map(String::as_str).filter(|module| reached(module).contains(*module)).collect()
}

fn arrows_of(source: &Path) -> Arrows {
    let mut arrows = Arrows::new();
    walk(source, source, &mut arrows);
    let modules: BTreeSet<String> = arrows.keys().cloned().collect();
    for (module, used) in &mut arrows {
        used.retain(|name| modules.contains(name) && name != module);
    }
    arrows
}

/// Files that only tests have are declared beside those that they are in.
fn walk(source: &Path, folder: &Path, arrows: &mut Arrows) {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        if path.is_dir() {
            walk(source, &path, arrows);
        } else if path.extension().is_some_and(|it| it == "rs") && !is_of_tests(&path) {
            let module = module(path.strip_prefix(source).unwrap());
            // lib.rs is above all, and a program's main file uses the library from outside.
            let Some(top) = module.first().filter(|top| *top != "bin") else { continue };
            let text = without_tests(&code(&fs::read_to_string(&path).unwrap()));
            arrows.entry(top.clone()).or_default().extend(used(&text, module.len()));
        }
    }
}

fn module(file: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        file.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.pop_if(|last| last == "mod" || last == "lib");
    names
}

fn is_of_tests(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_string_lossy();
    let parent = file.parent().unwrap();
    let declared = [parent.join("mod.rs"), parent.join("lib.rs"), parent.with_extension("rs")];
    declared.iter().filter_map(|path| fs::read_to_string(path).ok()).any(|text| {
        ["", "pub ", "pub(crate) "]
            .iter()
            .any(|seen| text.contains(&format!("#[cfg(test)]\n{seen}mod {stem};")))
    })
}

/// The text with comments and everything in quotes left out.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let from = hashes + 2;
            from + rest[from..].find(&end).unwrap() + end.len()
        } else if next == '"' {
            quoted(rest, '"')
        } else if next == '\'' && (rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'')) {
            quoted(rest, '\'')
        } else {
            code.push(next);
            next.len_utf8()
        };
        rest = &rest[skipped..];
    }
    code
}

/// How many `#` a raw string begins with.
fn raw(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.chars().take_while(|it| *it == '#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, it) in text.char_indices().skip(1) {
        match it {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if it == quote => return at + it.len_utf8(),
            _ => {}
        }
    }
    panic!("a quote does not end: {}", text.chars().take(40).collect::<String>());
}

/// The code without what follows a `#[cfg(test)]`: one item, statement or match arm.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    for (number, part) in code.split("#[cfg(test)]").enumerate() {
        kept.push_str(if number == 0 { part } else { &part[item(part)..] });
    }
    kept
}

fn item(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, it) in text.char_indices() {
        match it {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (it == '}' || it == ';') {
            return at + 1;
        }
    }
    text.len()
}

/// The names of modules that paths begin with, in a file so deep below lib.rs.
fn used(code: &str, depth: usize) -> BTreeSet<String> {
    let above = "super::".repeat(depth);
    let mut names = BTreeSet::new();
    for start in ["crate::", above.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|it| it == ':' || it == '_' || it.is_alphanumeric()) {
                continue;
            }
            first_names(&code[at + start.len()..], &mut names);
        }
    }
    names
}

/// `a::b` begins with `a`; `{a::{b, c}, d}` with `a` and `d`.
fn first_names(path: &str, names: &mut BTreeSet<String>) {
    let name =
        |text: &str| text.chars().take_while(|it| *it == '_' || it.is_alphanumeric()).collect::<String>();
    let Some(group) = path.strip_prefix('{') else {
        names.insert(name(path));
        return;
    };
    let (mut depth, mut begins) = (0_usize, true);
    for (at, it) in group.char_indices() {
        match it {
            '{' => depth += 1,
            '}' if depth == 0 => return,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && depth == 0 && !it.is_whitespace() => {
                names.insert(name(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
}

/// The scanner itself, on a text with everything in it that could mislead it.
#[test]
fn an_arrow_is_found_wherever_it_stands() {
    let text = r##"
        //! Of `crate::comment` nothing.
        use crate::{plain, nested::{Deep, other::Deeper}, last as named};
        pub(crate) use crate::exported::Thing;
        use super::sibling::Other;
        fn f<'a>(x: &'a crate::typed::T) -> char {
            let _ = ("crate::quoted", r#"crate::"raw"#, '"', '{', '\'');
            #[cfg(test)]
            let x = &crate::tested::altered(x);
            match x {
                #[cfg(test)]
                [first, ..] if crate::tested::is(first) => { '}' }
                _ => crate::called::f(x),
            }
        }
        #[cfg(test)]
        mod tests { use crate::tested::Helper; }
        use counterfill_core::crate_like::Not;
    "##;
    let found = used(&without_tests(&code(text)), 1);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, ["called", "exported", "last", "nested", "plain", "sibling", "typed"]);
    let arrows = |rows: &[(&str, &str)]| {
        let mut arrows = Arrows::new();
        rows.iter().for_each(|(from, to)| {
            arrows.entry((*from).into()).or_default().insert((*to).into());
        });
        arrows
    };
    let straight = arrows(&[("a", "b"), ("b", "c"), ("a", "c")]);
    assert_eq!(cycles(&straight), BTreeSet::new());
    let round = arrows(&[("a", "b"), ("b", "c"), ("c", "b")]);
    assert_eq!(cycles(&round), BTreeSet::from(["b", "c"]));
}
