# What is inside, as CycloneDX: every crate of the lock file and every store path of the image.
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
    meta.description = "Bill of materials of the image (CycloneDX)";
  }
  ''
    python3 ${./sbom.py} "$version" "$revision" ${../Cargo.lock} closure certificates > $out
  ''
