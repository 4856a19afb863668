# The packages that counterfill's flake names, made of what the sandbox shows of the machine: /usr, and the Rust
# toolchain and Nix linters under /rust and /tools.
{
  lib,
  machine,
  system,
}:
let
  isLinux = builtins.match ".*-linux" system != null;
  cpu = builtins.head (builtins.split "-" system);

  make =
    name: env: text:
    let
      kept = builtins.removeAttrs env [
        "meta"
        "passthru"
        "strictDeps"
        "nativeBuildInputs"
        "buildInputs"
      ];
      inputs = env.nativeBuildInputs or [ ];
    in
    derivation (
      kept
      // {
        inherit name system;
        builder = "/bin/bash";
        # Another compiler is another derivation.
        machine = builtins.toJSON machine.versions;
        path = lib.concatStringsSep ":" (map (it: "${it}/bin") inputs ++ [ "/usr/bin" ]);
        script = text;
        passAsFile = [ "script" ] ++ env.passAsFile or [ ];
        args = [
          "-euc"
          ''export PATH="$path" HOME="$PWD"; set -o pipefail; source "$scriptPath"''
        ];
      }
    )
    // {
      meta = env.meta or { };
    };

  runCommand = make;

  # A package that is only names for files of the machine.
  names =
    name: files:
    runCommand name { } ''
      mkdir -p $out/bin
      for file in ${toString files}; do ln -s "$file" $out/bin/; done
    '';

  writeShellApplication =
    {
      name,
      runtimeInputs ? [ ],
      text,
    }:
    runCommand name
      {
        inherit text;
        inherit runtimeInputs;
      }
      ''
        mkdir -p $out/bin
        {
          printf '#!/bin/bash\nset -euo pipefail\n'
          for input in $runtimeInputs; do printf 'PATH=%s/bin:$PATH\n' "$input"; done
          printf '%s\n' "$text"
        } > $out/bin/$name
        chmod +x $out/bin/$name
      '';
in
rec {
  inherit lib runCommand writeShellApplication;

  stdenv.hostPlatform = {
    inherit system isLinux;
    isDarwin = !isLinux;
    rust = rec {
      rustcTarget = "${cpu}-${if isLinux then "unknown-linux-gnu" else "apple-darwin"}";
      cargoEnvVarTarget =
        builtins.replaceStrings
          [
            "-"
            "a"
            "c"
            "d"
            "e"
            "f"
            "g"
            "h"
            "i"
            "k"
            "l"
            "n"
            "o"
            "p"
            "r"
            "u"
            "w"
            "x"
          ]
          [
            "_"
            "A"
            "C"
            "D"
            "E"
            "F"
            "G"
            "H"
            "I"
            "K"
            "L"
            "N"
            "O"
            "P"
            "R"
            "U"
            "W"
            "X"
          ]
          rustcTarget;
    };
  };

  rustc = names "rustc" [
    "/rust/bin/rustc"
    "/rust/bin/rustdoc"
  ];
  cargo = names "cargo" [ "/rust/bin/cargo" ];
  clippy = names "clippy" [
    "/rust/bin/cargo-clippy"
    "/rust/bin/clippy-driver"
  ];
  rustfmt = names "rustfmt" [
    "/rust/bin/cargo-fmt"
    "/rust/bin/rustfmt"
  ];
  python3 = names "python3" [ "/usr/bin/python3" ];
  nodejs = names "nodejs" [
    "/usr/bin/node"
    "/usr/bin/npm"
  ];
  gzip = names "gzip" [ "/usr/bin/gzip" ];
  skopeo = names "skopeo" [ "/usr/bin/skopeo" ];
  nixfmt = names "nixfmt" [ "/tools/bin/nixfmt" ];
  deadnix = names "deadnix" [ "/tools/bin/deadnix" ];
  nixfmt-tree = writeShellApplication {
    name = "nixfmt-tree";
    runtimeInputs = [ nixfmt ];
    text = ''git ls-files -z '*.nix' | xargs -0 nixfmt "$@"'';
  };
  # In the machine's own compiler and linker. The version is upstream's: Debian's own count stands behind the dash.
  glibc = {
    static = names "glibc-static" [ ];
    version = builtins.head (builtins.split "-" (builtins.elemAt machine.versions 3));
  };
  # Never built here.
  darwin.sigtool = names "sigtool" [ ];

  mkShell =
    {
      packages ? [ ],
      ...
    }:
    runCommand "shell" {
      nativeBuildInputs = packages;
    } "touch $out"
    // {
      nativeBuildInputs = packages;
    };

  # Mozilla's list as Debian ships it, in one file; not the machine's own /etc/ssl, which may hold more.
  cacert = runCommand "cacert" { } ''
    mkdir -p $out/etc/ssl/certs
    find /usr/share/ca-certificates/mozilla -name '*.crt' -print0 | sort -z | xargs -0 cat > $out/etc/ssl/certs/ca-bundle.crt
    [[ $(grep -c 'BEGIN CERTIFICATE' $out/etc/ssl/certs/ca-bundle.crt) -gt 50 ]]
  '';

  dockerTools.buildLayeredImage =
    {
      name,
      tag,
      config,
      fakeRootCommands ? "",
      created ? "1970-01-01T00:00:01Z",
    }:
    runCommand "${name}.tar.gz"
      {
        inherit fakeRootCommands created;
        image = "${name}:${tag}";
        config = builtins.toJSON config;
        architecture = if cpu == "x86_64" then "amd64" else "arm64";
        passAsFile = [ "config" ];
        exportReferencesGraph = [
          "closure"
          (builtins.toFile "config.json" "{}")
          "references"
          (runCommand "references" { config = builtins.toJSON config; } ''printf '%s' "$config" > $out'')
        ];
      }
      ''
        mkdir root && cd root
        # The sandbox has one user; who a file belongs to is written down and put into the layer.
        chown() { local owner=$1; shift; printf "$owner %s\n" "$@" >> ../owners; }
        touch ../owners
        eval "$fakeRootCommands"
        cd ..
        python3 ${./layers.py} "$image" "$created" "$architecture" "$configPath" references root owners > $out
      '';
}
