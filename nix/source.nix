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
      ../contracts/test
      ../.env.example
      ../docs/reference/configuration.md
      ../clippy.toml
      ../rustfmt.toml
    ]
  );
  # The locks and what says where they come from, for the check that they carry no addresses.
  locks = toSource [
    ../Cargo.lock
    ../flake.lock
    ../contracts/package-lock.json
  ];
  nix = toSource [
    ../flake.nix
    ./.
  ];
}
