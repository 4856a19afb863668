//! The fuzz targets as properties, in every test run: each takes its whole committed corpus, pieces of it glued and
//! bent, and random bytes, from a fixed seed. `scripts/fuzz` looks further, guided by coverage.

use crate::recorded;

use std::fs;
use std::path::{Path, PathBuf};

use counterfill::fills::{self, TokenFacts};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use testkit::forms::{FORMS, Form, logs};

/// Largest folder of a corpus: it is committed.
const CORPUS_BYTES_MAX: u64 = 64 * 1024;

fn corpus(form: Form) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(form.name)
}

/// Every committed input with its name, ascending.
fn inputs(form: Form) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = fs::read_dir(corpus(form))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// The same inputs at every run; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` look at others.
fn cases(number: u32) -> ProptestConfig {
    let usual = ProptestConfig::with_cases(number);
    let rng_seed = match usual.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_125),
        given => given,
    };
    ProptestConfig { failure_persistence: None, max_shrink_iters: 500, rng_seed, ..usual }
}

/// Committed inputs cut, glued and bent, or bytes from nowhere.
fn bent(known: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let piece = (prop::sample::select(known), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let piece = piece.prop_map(|(input, from, to)| {
        let (from, to) = (from.index(input.len() + 1), to.index(input.len() + 1));
        input[from.min(to)..from.max(to)].to_vec()
    });
    let glued = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let bends = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let bent = (glued, bends).prop_map(|(mut input, bends)| {
        for (place, byte) in bends {
            if !input.is_empty() {
                let place = place.index(input.len());
                input[place] = byte;
            }
        }
        input
    });
    prop_oneof![4 => bent, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

fn holds(name: &str, number: u32) {
    let form = FORMS.into_iter().find(|form| form.name == name).unwrap();
    let inputs = inputs(form);
    assert!(inputs.len() >= 5, "{name}: a corpus that says something has more than {} inputs", inputs.len());
    let bytes: u64 = inputs.iter().map(|(_, input)| input.len() as u64).sum();
    assert!(
        bytes <= CORPUS_BYTES_MAX,
        "{name}: {bytes} bytes of corpus; `scripts/fuzz` keeps finds elsewhere"
    );
    for (file, input) in &inputs {
        // Told before it runs, so that the input that breaks a promise has a name.
        println!("{name}/{file}");
        (form.check)(input);
    }
    let known = inputs.into_iter().map(|(_, input)| input).collect();
    TestRunner::new(cases(number))
        .run(&bent(known), |input| {
            (form.check)(&input);
            Ok(())
        })
        .unwrap();
}

#[test]
fn any_logs() {
    holds("logs", 1_500);
}

#[test]
fn any_frames() {
    holds("frames", 400);
}

#[test]
fn any_replies() {
    holds("replies", 1_500);
}

#[test]
fn any_settings() {
    holds("settings", 1_500);
}

#[test]
fn any_history_and_any_damage_of_a_ledger() {
    holds("ledger", 120);
}

#[test]
fn every_form_is_tested_here_and_is_a_target() {
    let source = include_str!("fuzz_forms.rs");
    for form in FORMS {
        assert!(source.contains(&format!("holds(\"{}\", ", form.name)), "{}", form.name);
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/targets/{}.rs", form.name));
        let target = fs::read_to_string(target).unwrap();
        assert!(target.contains(&format!("testkit::forms::{}::check(input)", form.name)), "{target}");
    }
}

/// The corpus of the logs begins with what the real order books emitted. `WRITE_CORPUS=1` writes it again.
#[test]
fn the_real_logs_are_in_the_corpus() {
    let form = FORMS.into_iter().find(|form| form.name == "logs").unwrap();
    for (version, recording) in [("v4", recorded::v4()), ("v6", recorded::v6())] {
        for scenario in &recording.scenarios {
            let mut taken = scenario.logs.clone();
            taken.retain(|log| log.kind().is_some());
            let found = fills::trades(&recording.book, &taken);
            let asked = fills::questions(&recording.book, &found.trades, &TokenFacts::default()).tokens;
            let symbols: Vec<&str> =
                asked.iter().map(|token| recording.facts.tokens[token].symbol.as_str()).collect();
            let input = logs::encode(&symbols, &taken);
            let file = corpus(form).join(format!("{version}-{}", scenario.name));
            if std::env::var_os("WRITE_CORPUS").is_some() {
                fs::create_dir_all(corpus(form)).unwrap();
                fs::write(&file, &input).unwrap();
            }
            assert_eq!(fs::read(&file).unwrap(), input, "{}", file.display());
        }
    }
}
