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
  # The test programs of a folder, as cargo finds them: a file each, or a folder with a main.rs.
  testsOf =
    folder:
    map (name: builtins.head (builtins.split "[.]rs$" name)) (
      builtins.filter (
        name: builtins.match ".*[.]rs" name != null || builtins.pathExists (folder + "/${name}/main.rs")
      ) (builtins.attrNames (if builtins.pathExists folder then builtins.readDir folder else { }))
    );
  members =
    if builtins.pathExists ../crates then builtins.attrNames (builtins.readDir ../crates) else [ ];
  # What needs nothing but itself: `it`, and the members' own. The other two, `process` and `proof`, start the bot by the
  # hundred and ask npm for an EVM node: `scripts/test` runs those, and CI calls it beside this.
  offline = map (name: "--test ${name}") (
    [ "it" ] ++ builtins.concatMap (member: testsOf (../crates + "/${member}/tests")) members
  );
  said =
    name: inputs: text:
    pkgs.runCommand "counterfill-${name}" { nativeBuildInputs = inputs; } ''
      ${text}
      touch $out
    '';
  # As `nixos-rebuild` would see it, down to the unit.
  machine =
    service:
    nixpkgs.lib.nixosSystem {
      modules = [
        ./module.nix
        {
          # Only the service is looked at: no disk, no boot loader.
          boot.isContainer = true;
          nixpkgs.hostPlatform = pkgs.stdenv.hostPlatform.system;
          system.stateVersion = "26.05";
          services.counterfill = service // {
            enable = true;
            package = bot;
          };
        }
      ];
    };
  good = machine {
    credentials.WS_RPC_URL = "/run/secrets/ws-rpc-url";
    settings.DEPLOYMENT_BLOCK = "41686926";
  };
  bad = machine {
    credentials = { };
    settings.WS_RPC_URL = "wss://rpc.example.com/KEY";
  };
  # Of our own assertions those that fail. In this order: the message of one that holds need not make sense.
  failed =
    machine:
    builtins.filter (message: builtins.substring 0 20 message == "services.counterfill") (
      map (wrong: wrong.message) (builtins.filter (wrong: !wrong.assertion) machine.config.assertions)
    );
in
{
  build = bot;

  clippy = craneLib.cargoClippy (
    dev // { cargoClippyExtraArgs = "--workspace --all-targets -- -D warnings"; }
  );

  fmt = craneLib.cargoFmt {
    inherit (dev) pname version;
    src = sources.tests;
    cargoExtraArgs = "--all";
  };

  docs = craneLib.cargoDoc (
    dev
    // {
      cargoDocExtraArgs = "--workspace --no-deps";
      RUSTDOCFLAGS = "-D warnings";
    }
  );

  # Tests named after solc ask npm for that compiler.
  tests = craneLib.cargoTest (
    dev
    // {
      cargoTestExtraArgs = "--workspace --no-fail-fast --lib --bins ${lib.concatStringsSep " " offline} -- --skip solc_";
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

  # The program refers to nothing, so that nothing comes into the image with it. And what package.nix blinds for that is
  # the C library's alone: any other reference would be something that the program may want to find there.
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
        grep --only-matching --text -E '/nix/store/[0-9a-z]{32}-[-+._?=0-9A-Za-z]+' \
          ${package.unstamped}/bin/bot > all || [[ $? == 1 ]]
        sort -u all | grep -v -E '^/nix/store/(e{32}|[0-9a-z]{32}-glibc)-' > others || [[ $? == 1 ]]
        [[ ! -s others ]] || { echo 'before it was blinded, the program referred to:'; cat others; exit 1; } >&2
        touch $out
      '';

  # The shell's compiler is the one that made the image.
  shell = said "shell" (shell.nativeBuildInputs ++ [ pkgs.python3 ]) ''
    made=$(${bot}/bin/bot version --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["rustc"])')
    here=$(rustc --version)
    [[ $made == "$here" ]] || { echo "image: $made; shell: $here" >&2; exit 1; }
  '';

  sbom = said "sbom" [ pkgs.python3 ] ''
    ${program}/bin/bot version --json > said
    python3 ${./sbom_check.py} ${sbom} ${pkgs.glibc.version} said ${../Cargo.lock} ${program} ${pkgs.cacert}
  '';

  module =
    pkgs.runCommand "counterfill-module"
      {
        unit = builtins.toJSON {
          inherit (good.config.systemd.services.counterfill) environment serviceConfig;
          failed = failed good;
          refused = failed bad;
        };
        passAsFile = [ "unit" ];
        nativeBuildInputs = [ pkgs.python3 ];
      }
      ''
        python3 ${./module_check.py} "$unitPath"
        cp "$unitPath" $out
      '';
}
