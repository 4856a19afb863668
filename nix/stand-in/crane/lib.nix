# The functions of crane that counterfill's flake calls, with crane's meaning as far as it is used.
pkgs:
let
  inherit (pkgs) lib;
  machine = builtins.fromJSON (builtins.readFile ./machine.json);
  # In the store already: put there once by scripts/stand-in, from `cargo vendor --locked`.
  vendor = builtins.appendContext machine.vendor { ${machine.vendor}.path = true; };

  own = [
    "src"
    "pname"
    "version"
    "cargoArtifacts"
    "cargoExtraArgs"
    "cargoTestExtraArgs"
    "cargoClippyExtraArgs"
    "cargoDocExtraArgs"
    "buildPhaseCargoCommand"
    "checkPhaseCargoCommand"
    "installPhaseCommand"
    "pnameSuffix"
    "doInstallCargoArtifacts"
    "doCheck"
  ];

  mkCargoDerivation =
    args:
    pkgs.runCommand "${args.pname}${args.pnameSuffix or ""}-${args.version}"
      (
        builtins.removeAttrs args own
        // {
          nativeBuildInputs = [
            pkgs.rustc
            pkgs.cargo
            pkgs.clippy
            pkgs.rustfmt
          ]
          ++ args.nativeBuildInputs or [ ];
          inherit vendor;
          CARGO_PROFILE = args.CARGO_PROFILE or "release";
        }
      )
      ''
        export CARGO_HOME=$PWD/cargo-home CARGO_NET_OFFLINE=true CARGO_INCREMENTAL=0
        mkdir "$CARGO_HOME"
        sed "s|@vendor@|$vendor|" ${./cargo-config.toml} > "$CARGO_HOME/config.toml"
        cp -r ${args.src} source && chmod -R u+w source && cd source
        ${lib.optionalString (args.cargoArtifacts or null != null) ''
          tar --extract --file ${args.cargoArtifacts}/target.tar
        ''}
        # The store makes every file equally old; what was compiled from stubs must be older than the sources.
        find . -path ./target -prune -o -type f -exec touch {} +
        cargoWithProfile() {
          local profile=()
          case $CARGO_PROFILE in "") ;; release) profile=(--release) ;; *) profile=(--profile "$CARGO_PROFILE") ;; esac
          cargo "$1" "''${profile[@]}" "''${@:2}"
        }
        ${args.buildPhaseCargoCommand or ""}
        ${args.checkPhaseCargoCommand or ""}
        mkdir -p $out
        ${args.installPhaseCommand or ""}
        ${lib.optionalString (args.doInstallCargoArtifacts or false
        ) "tar --create --file $out/target.tar target"}
      '';
in
{
  inherit mkCargoDerivation;

  # The crate itself is a stub here: with every source but the dependencies' emptied, an edit compiles none of them anew.
  buildDepsOnly =
    args:
    mkCargoDerivation (
      args
      // {
        pnameSuffix = "-deps";
        doInstallCargoArtifacts = true;
        src = builtins.path {
          name = "source";
          path = args.src.origSrc;
          filter =
            path: _:
            let
              inside = lib.removePrefix "${toString args.src.origSrc}/" path;
            in
            builtins.match "Cargo[.](toml|lock)|crates(/[^/]*(/Cargo[.]toml)?)?" inside != null;
        };
        buildPhaseCargoCommand = ''
          python3 ${./stubs.py}
          ${args.buildPhaseCargoCommand}
        '';
      }
    );

  buildPackage =
    args:
    mkCargoDerivation (
      args
      // {
        buildPhaseCargoCommand = "cargoWithProfile build ${args.cargoExtraArgs or "--locked"}";
        installPhaseCommand = ''
          mkdir -p $out/bin
          find target -path '*/release/*' -maxdepth 3 -type f -executable -exec cp {} $out/bin/ \;
          # As crane does: panic messages name the vendored sources, which must not come along.
          sed -i "s|$vendor|$(sed -E 's|/[a-z0-9]{32}-|/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-|' <<< "$vendor")|g" $out/bin/*
        '';
      }
    );

  cargoClippy =
    args:
    mkCargoDerivation (
      args
      // {
        pnameSuffix = "-clippy";
        buildPhaseCargoCommand = "cargoWithProfile clippy --locked ${
          args.cargoClippyExtraArgs or "--all-targets"
        }";
      }
    );

  cargoDoc =
    args:
    mkCargoDerivation (
      args
      // {
        pnameSuffix = "-doc";
        buildPhaseCargoCommand = "cargoWithProfile doc --locked ${args.cargoDocExtraArgs or "--no-deps"}";
        installPhaseCommand = ''mkdir -p $out/share && mv "target/''${CARGO_BUILD_TARGET:-}/doc" $out/share/'';
      }
    );

  cargoFmt =
    args:
    mkCargoDerivation (
      args
      // {
        pnameSuffix = "-fmt";
        buildPhaseCargoCommand = "cargo fmt ${args.cargoExtraArgs or ""} -- --check";
      }
    );

  cargoTest =
    args:
    mkCargoDerivation (
      args
      // {
        pnameSuffix = "-test";
        checkPhaseCargoCommand = "cargoWithProfile test --locked ${args.cargoTestExtraArgs or ""}";
      }
    );

  devShell =
    args:
    pkgs.mkShell (
      args
      // {
        packages = [
          pkgs.rustc
          pkgs.cargo
          pkgs.clippy
          pkgs.rustfmt
        ]
        ++ args.packages or [ ];
      }
    );
}
