{
  description = "counterfill: every onchain fill answered with one opposite order";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    {
      self,
      nixpkgs,
      crane,
    }:
    let
      inherit (nixpkgs) lib;
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      darwin = [
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      on = systems: pick: lib.genAttrs systems (system: pick (parts system));
      # The commit; stamped into the finished program, so that it rebuilds nothing.
      revision = self.rev or self.dirtyRev or "unknown";

      parts =
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
          package = import ./nix/package.nix { inherit pkgs crane revision; };
          image = import ./nix/image.nix { inherit pkgs package revision; };
          sbom = import ./nix/sbom.nix { inherit pkgs package image; };
          shell = import ./nix/shell.nix { inherit pkgs package; };
        in
        {
          inherit shell;
          apps = import ./nix/apps.nix { inherit pkgs package image; };
          formatter = pkgs.nixfmt-tree;
          packages = {
            inherit (package) bot;
            default = package.bot;
          }
          // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux { inherit image sbom; };
          checks = import ./nix/checks.nix {
            inherit
              nixpkgs
              pkgs
              package
              image
              sbom
              shell
              ;
          };
        };
    in
    {
      packages = on (linux ++ darwin) (part: part.packages);
      apps = on (linux ++ darwin) (part: part.apps);
      devShells = on (linux ++ darwin) (part: {
        default = part.shell;
      });
      formatter = on (linux ++ darwin) (part: part.formatter);
      checks = on linux (part: part.checks);
      nixosModules.default = import ./nix/module.nix;
    };
}
