# What a build sees: what compiles the program, and for the tests also what they read. Nothing else, so that an edit of
# the README or of the Nix files rebuilds nothing.
{ lib }:
let
  root = ../.;
  toSource =
    files:
    lib.fileset.toSource {
      inherit root;
      fileset = lib.fileset.unions files;
    };
  program = [
    ../Cargo.toml
    ../Cargo.lock
    ../build.rs
    ../src
    # The other members of the workspace, where there are any.
    (lib.fileset.maybeMissing ../crates)
    ../migrations
    ../contracts/IOrderBookV4.sol
    ../contracts/IOrderBookV5.sol
    ../contracts/IToken.sol
  ];
in
{
  program = toSource program;
  tests = toSource (
    program
    ++ [
      ../tests
      ../benches
      ../contracts/test
      ../.env.example
      ../docs/reference/configuration.md
      ../docs/reference/order-lifecycle.md
      ../examples
      # What was found by fuzzing, as tests.
      (lib.fileset.maybeMissing ../fuzz)
      ../clippy.toml
      ../rustfmt.toml
      # Tests hold what is shipped against the feature that it is built without.
      ./contract.py
      ./package.nix
    ]
  );
  # The locks, for the check that they carry no addresses. What is fuzzed is a workspace of its own.
  locks = toSource [
    ../Cargo.lock
    (lib.fileset.maybeMissing ../fuzz/Cargo.lock)
    ../flake.lock
    ../contracts/package-lock.json
  ];
  nix = toSource [
    ../flake.nix
    ./.
  ];
}
