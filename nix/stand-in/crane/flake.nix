{
  description = "A stand-in for crane, not crane: thin wrappers of the machine's cargo over vendored crates";
  outputs = _: { mkLib = import ./lib.nix; };
}
