# What `nix flake check` builds. All that compiles starts from the same compiled dependencies.
{
  nixpkgs,
  pkgs,
  package,
  image,
  sbom,
  shell,
}:
let
  inherit (package)
    bot
    cargoArtifacts
    common
    craneLib
    program
    sources
    ;
  inherit (pkgs) lib;

  # The dev profile, as at a desk.
  dev = common // {
    inherit cargoArtifacts;
    src = sources.tests;
    CARGO_PROFILE = "";
    doInstallCargoArtifacts = false;
  };
  # The test programs of tests/, as cargo finds them: a file each, or a folder with a main.rs.
  offline = lib.concatStringsSep " " (
    map (name: "--test ${builtins.head (builtins.split "[.]rs$" name)}") (
      builtins.filter (
        name:
        builtins.substring 0 5 name != "anvil"
        && (builtins.match ".*[.]rs" name != null || builtins.pathExists (../tests + "/${name}/main.rs"))
      ) (builtins.attrNames (builtins.readDir ../tests))
    )
  );
  said =
    name: inputs: text:
    pkgs.runCommand "counterfill-${name}" { nativeBuildInputs = inputs; } ''
      ${text}
      touch $out
    '';
  # As `nixos-rebuild` would see it, down to the unit.
  machine = nixpkgs.lib.nixosSystem {
    modules = [
      ./module.nix
      {
        # Only the service is looked at: no disk, no boot loader.
        boot.isContainer = true;
        nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
        system.stateVersion = "26.05";
        services.counterfill = {
          enable = true;
          package = bot;
          wsRpcUrlFile = "/run/secrets/ws-rpc-url";
          settings.DEPLOYMENT_BLOCK = "41686926";
        };
      }
    ];
  };
  unit = machine.config.systemd.services.counterfill;
  ours = wrong: builtins.substring 0 20 wrong.message == "services.counterfill";
in
{
  build = bot;

  clippy = craneLib.cargoClippy (dev // { cargoClippyExtraArgs = "--all-targets -- -D warnings"; });

  fmt = craneLib.cargoFmt {
    inherit (dev) pname version;
    src = sources.tests;
  };

  docs = craneLib.cargoDoc (dev // { RUSTDOCFLAGS = "-D warnings"; });

  # All that need nothing from npm: those named after anvil ask it, two of topics ask solc. scripts/test runs them too.
  tests = craneLib.cargoTest (
    dev
    // {
      cargoTestExtraArgs = "--no-fail-fast --lib --bins ${offline} -- --skip solc_";
    }
  );

  nixfmt = said "nixfmt" [ pkgs.nixfmt pkgs.deadnix ] ''
    find ${sources.nix} -name '*.nix' -exec nixfmt --check {} +
    deadnix --fail ${sources.nix}
  '';

  lock = said "lock" [ pkgs.python3 ] "python3 ${./locks.py} ${sources.locks}";

  licences = craneLib.mkCargoDerivation (
    common
    // {
      cargoArtifacts = null;
      pnameSuffix = "-licences";
      doInstallCargoArtifacts = false;
      nativeBuildInputs = (common.nativeBuildInputs or [ ]) ++ [ pkgs.python3 ];
      buildPhaseCargoCommand = ''
        cargo metadata --locked --format-version 1 > metadata.json
        python3 ${./licences.py} metadata.json
      '';
    }
  );

  image-contract = said "image-contract" [ pkgs.python3 ] ''
    python3 ${./contract.py} ${image} --version ${image.version} --revision ${image.revision} --closure ${program}
  '';

  # The program refers to nothing, so that nothing comes into the image with it.
  closure =
    pkgs.runCommand "counterfill-closure"
      {
        exportReferencesGraph = [
          "closure"
          program
        ];
      }
      ''
        found=$(grep --only-matching '^/nix/store/[^/]*$' closure | sort -u)
        [[ $found == ${program} ]] || { printf 'the program brings along:\n%s\n' "$found" >&2; exit 1; }
        touch $out
      '';

  # The shell's compiler is the one that made the image.
  shell = said "shell" (shell.nativeBuildInputs ++ [ pkgs.python3 ]) ''
    made=$(${bot}/bin/bot version --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["rustc"])')
    here=$(rustc --version)
    [[ $made == "$here" ]] || { echo "image: $made; shell: $here" >&2; exit 1; }
  '';

  sbom = said "sbom" [ pkgs.python3 ] ''
    python3 ${./sbom_check.py} ${sbom} ${../Cargo.lock} ${program} ${pkgs.cacert}
  '';

  module =
    pkgs.runCommand "counterfill-module"
      {
        unit = builtins.toJSON {
          inherit (unit) environment serviceConfig;
          failed = map (wrong: wrong.message) (
            builtins.filter (wrong: ours wrong && !wrong.assertion) machine.config.assertions
          );
        };
        passAsFile = [ "unit" ];
        nativeBuildInputs = [ pkgs.python3 ];
      }
      ''
        python3 ${./module_check.py} "$unitPath"
        cp "$unitPath" $out
      '';
}
