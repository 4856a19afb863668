# The few functions of nixpkgs' lib that counterfill's flake calls.
let
  startsWith = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
in
rec {
  genAttrs =
    names: make:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = make name;
      }) names
    );
  optional = wanted: it: if wanted then [ it ] else [ ];
  optionalAttrs = wanted: it: if wanted then it else { };
  optionalString = wanted: it: if wanted then it else "";
  inherit (builtins) concatStringsSep;
  mapAttrsToList = make: set: map (name: make name set.${name}) (builtins.attrNames set);
  removePrefix =
    prefix: text:
    if startsWith prefix text then
      builtins.substring (builtins.stringLength prefix) (-1) text
    else
      text;
  escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";

  # Sets are lists of paths, and a path stands for all beneath it.
  fileset = {
    maybeMissing = path: path;
    unions = files: builtins.concatLists (map (it: if builtins.isList it then it else [ it ]) files);
    toSource =
      { root, fileset }:
      let
        wanted = map toString (if builtins.isList fileset then fileset else [ fileset ]);
      in
      {
        # As in nixpkgs: a source remembers what it was filtered from.
        origSrc = root;
        outPath = builtins.path {
          name = "source";
          path = root;
          filter =
            path: _:
            builtins.any (it: path == it || startsWith "${it}/" path || startsWith "${path}/" it) wanted;
        };
      };
  };

  # Modules without types, priorities or lists of packages: enough to see what one module makes of its options.
  mkOption = option: option // { _isOption = true; };
  mkEnableOption =
    description:
    mkOption {
      inherit description;
      default = false;
    };
  mkIf = wanted: content: {
    _isIf = true;
    inherit wanted content;
  };
  types = {
    package = null;
    path = null;
    str = null;
    attrsOf = _: null;
  };
  nixosSystem =
    { modules }:
    let
      merge =
        a: b:
        if builtins.isAttrs a && builtins.isAttrs b && !(a ? type && a.type == "derivation") then
          a // builtins.mapAttrs (name: it: if a ? ${name} then merge a.${name} it else it) b
        else
          b;
      open = it: if it ? _isIf then (if it.wanted then it.content else { }) else it;
      defaults = it: if it ? _isOption then it.default or null else builtins.mapAttrs (_: defaults) it;
      load =
        it:
        let
          loaded = if builtins.isPath it then import it else it;
        in
        if builtins.isFunction loaded then
          loaded {
            config = given;
            lib = {
              inherit
                mkOption
                mkEnableOption
                mkIf
                types
                mapAttrsToList
                ;
            };
            pkgs = { };
          }
        else
          { config = loaded; };
      loaded = map load modules;
      made = builtins.filter (it: it ? options) loaded;
      # A module sees the options and what was given for them, not what other modules make of them.
      given = builtins.foldl' merge { } (
        map (it: defaults it.options) made
        ++ map (it: it.config) (builtins.filter (it: !(it ? options)) loaded)
      );
      config = builtins.foldl' merge given (map (it: open it.config) made);
    in
    {
      inherit config;
    };
}
