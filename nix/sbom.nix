# What is inside, as CycloneDX: every crate of the lock file, what is linked in and is no crate, and every store path of
# the image.
{
  pkgs,
  package,
  image,
}:
pkgs.runCommand "counterfill-${package.version}.cdx.json"
  {
    nativeBuildInputs = [ pkgs.python3 ];
    exportReferencesGraph = [
      "closure"
      package.program
      "certificates"
      pkgs.cacert
    ];
    inherit (package) version;
    inherit (image) revision;
    glibc = pkgs.glibc.version;
    meta.description = "Bill of materials of the image (CycloneDX)";
  }
  ''
    # Its compiler and its SQLite the program names itself.
    ${package.program}/bin/bot version --json > said
    python3 ${./sbom.py} "$version" "$revision" "$glibc" said ${../Cargo.lock} closure certificates > $out
  ''
