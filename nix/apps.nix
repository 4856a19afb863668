# What `nix run .#NAME` does.
{
  pkgs,
  package,
  image,
}:
let
  inherit (pkgs) lib;
  app = description: program: {
    type = "app";
    inherit program;
    meta = { inherit description; };
  };
  script =
    name: runtimeInputs: text:
    "${pkgs.writeShellApplication { inherit name runtimeInputs text; }}/bin/${name}";
in
{
  bot = app "The bot" "${package.bot}/bin/bot";
  auth = app "The broker's login" "${package.bot}/bin/auth";
  demo = app "The bot at work on a simulated chain: no key, no network" (
    script "demo" [ ] ''exec ${package.bot}/bin/bot demo "$@"''
  );
  prepSolArtifacts =
    app "Compile the contracts that the tests use (in a checkout; asks npm for solc)"
      (
        script "prep-sol-artifacts" [ pkgs.nodejs ] ''
          [[ -x scripts/tools ]] || { echo "start this in the repository's root" >&2; exit 64; }
          exec scripts/tools --contracts
        ''
      );
}
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
  push-image =
    app
      "Push the image to a registry, without a daemon: nix run .#push-image -- [--release] REGISTRY/NAME"
      (
        script "push-image" [ pkgs.gzip pkgs.skopeo ] ''
          export IMAGE=${image} REVISION=${image.revision} VERSION=${image.version}
          ${builtins.readFile ./push-image.sh}
        ''
      );
}
