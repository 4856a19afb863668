{
  description = "A stand-in for nixpkgs, not nixpkgs: the machine's own tools under the names that counterfill uses";

  outputs =
    _:
    let
      lib = import ./lib.nix;
      # Written by scripts/stand-in: what the toolchain says it is, and where the vendored crates are.
      machine = builtins.fromJSON (builtins.readFile ./machine.json);
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
        "x86_64-darwin"
        "aarch64-darwin"
      ] (system: import ./packages.nix { inherit lib machine system; });
    };
}
