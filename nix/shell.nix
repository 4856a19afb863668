# For development: the compiler that builds the image, and what the scripts of this repository call.
{ pkgs, package }:
package.craneLib.devShell {
  packages = [
    pkgs.nixfmt
    pkgs.deadnix
    pkgs.nodejs
    pkgs.python3
    pkgs.skopeo
  ];
}
