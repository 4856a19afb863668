# From sources to the program: dependencies once for everything that compiles, one static binary, the revision stamped
# into it afterwards, then what a person wants beside it.
{
  pkgs,
  crane,
  revision,
}:
let
  inherit (pkgs) lib;
  platform = pkgs.stdenv.hostPlatform;
  craneLib = crane.mkLib pkgs;
  sources = import ./source.nix { inherit lib; };
  version = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).package.version;

  # Linked statically, so that the image needs no C library, and with its relocations packed, which is 0.7 MB less.
  static = {
    CARGO_BUILD_TARGET = platform.rust.rustcTarget;
    "CARGO_TARGET_${platform.rust.cargoEnvVarTarget}_RUSTFLAGS" = lib.concatStringsSep " " [
      "-C target-feature=+crt-static"
      "-C link-arg=-Wl,-z,pack-relative-relocs"
    ];
    # No panic goes through C: its functions need no table that says how. 0.1 MB.
    CFLAGS = "-fno-asynchronous-unwind-tables";
    buildInputs = [ pkgs.glibc.static ];
  };

  common = {
    pname = "counterfill";
    inherit version;
    src = sources.program;
    strictDeps = true;
    # Without those of SQLite's extras that no statement of ours uses.
    LIBSQLITE3_FLAGS = lib.concatStringsSep " " (
      map (it: "-USQLITE_ENABLE_${it}") [
        "FTS3"
        "FTS3_PARENTHESIS"
        "FTS5"
        "RTREE"
        "STAT4"
        "LOAD_EXTENSION"
        "DBSTAT_VTAB"
        "COLUMN_METADATA"
      ]
      ++ [ "-DSQLITE_OMIT_JSON" ]
    );
  }
  // lib.optionalAttrs platform.isLinux static;

  # Both profiles in one: release for the program, dev for clippy, tests and documentation.
  cargoArtifacts = craneLib.buildDepsOnly (
    common
    // {
      buildPhaseCargoCommand = ''
        cargo build --locked --release --no-default-features --features node --bin bot
        cargo check --locked --workspace --all-targets
      '';
      checkPhaseCargoCommand = "cargo test --locked --workspace --no-run";
    }
  );

  unstamped = craneLib.buildPackage (
    common
    // {
      inherit cargoArtifacts;
      # Without the feature `trials`: `bot sim` and its disk that loses things are for a build of the sources.
      cargoExtraArgs = "--locked --no-default-features --features node --bin bot";
      # The tests are a check of their own.
      doCheck = false;
      meta.description = "counterfill without a revision";
    }
  );

  # What the image holds. src/version.rs describes the mark and the room behind it.
  program =
    pkgs.runCommand "counterfill-${version}"
      {
        inherit revision;
        nativeBuildInputs = lib.optional platform.isDarwin pkgs.darwin.sigtool;
        meta.mainProgram = "bot";
      }
      ''
        mkdir -p $out/bin
        cp ${unstamped}/bin/bot $out/bin/bot
        chmod u+w $out/bin/bot
        mark=counterfill-revision=
        offset=$(grep --only-matching --byte-offset --text "$mark" $out/bin/bot | cut -d: -f1)
        printf '%-59s' "''${revision:0:59}" |
          dd of=$out/bin/bot bs=1 seek=$((offset + ''${#mark})) conv=notrunc status=none
        # What the C library would look for in its own folder (converters, locales, modules), it is not to look for: the
        # program uses none of it, and each such path would bring the whole library into the image. As long as before.
        sed -i -E 's|/nix/store/[0-9a-z]{32}-|/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-|g' $out/bin/bot
        ${lib.optionalString platform.isDarwin "codesign -f -s - $out/bin/bot"}
        chmod 0555 $out/bin/bot
        ln -s bot $out/bin/auth
      '';

  bot =
    pkgs.runCommand "counterfill-with-manual-${version}"
      {
        meta = {
          description = "Answers every onchain fill of your Raindex orders with one opposite order at your broker";
          mainProgram = "bot";
        };
      }
      ''
        mkdir -p $out/bin $out/share/{man/man1,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
        cp -P ${program}/bin/* $out/bin/
        $out/bin/bot completions bash > $out/share/bash-completion/completions/bot
        $out/bin/bot completions zsh > $out/share/zsh/site-functions/_bot
        $out/bin/bot completions fish > $out/share/fish/vendor_completions.d/bot.fish
        bash ${./man.sh} $out/bin/bot > $out/share/man/man1/bot.1
        # The page finds the verbs in the text of the help; the completions know them from the program's own table.
        for verb in $(sed -n 's/^complete .*_needs_command" -f -a "\([a-z-]*\)".*/\1/p' $out/share/fish/*/bot.fish); do
          [[ $verb == help ]] || grep -q "^.SH BOT ''${verb^^}\$" $out/share/man/man1/bot.1 ||
            { echo "the manual page lacks $verb" >&2; exit 1; }
        done
        ln -s bot.1 $out/share/man/man1/auth.1
      '';
in
{
  inherit
    craneLib
    common
    cargoArtifacts
    sources
    version
    unstamped
    program
    bot
    ;
}
