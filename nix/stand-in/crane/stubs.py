"""Writes empty sources for the targets of the Cargo.toml files below this folder, so that their dependencies can be
compiled without them: crane's mkDummySrc, for what a workspace of ours declares.
"""

import pathlib
import tomllib

MAIN = "fn main() {}\n"
FOLDERS = {"bin": "src/bin", "bench": "benches", "test": "tests", "example": "examples"}


def write(file: pathlib.Path, text: str) -> None:
    """A file, and the folders that lead to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


for manifest in [pathlib.Path("Cargo.toml"), *sorted(pathlib.Path("crates").glob("*/Cargo.toml"))]:
    package = tomllib.loads(manifest.read_text())
    write(manifest.parent / "src/lib.rs", "")
    for kind, folder in FOLDERS.items():
        for target in package.get(kind, []):
            write(manifest.parent / target.get("path", f"{folder}/{target['name']}.rs"), MAIN)
write(pathlib.Path("build.rs"), MAIN)
