"""Checks the lock files in the folder given as argument: exact, checksummed, and without download addresses."""

import json
import pathlib
import re
import sys
import tomllib

root = pathlib.Path(sys.argv[1])
wrong = []

# `registry+…` is how cargo itself names its one registry; it is no address that anything is fetched from.
crates = {}
for lock in sorted(root.rglob("Cargo.lock")):
    name = lock.relative_to(root)
    crates[name] = tomllib.loads(lock.read_text())["package"]
    for package in crates[name]:
        source = package.get("source")
        if source is not None and (not source.startswith("registry+") or "checksum" not in package):
            wrong.append(f"{name}: {package['name']} is not from the registry, or has no checksum")
    if len({package.get("source") for package in crates[name]}) != 2:
        wrong.append(f"{name}: more than one registry")

npm = json.loads((root / "contracts/package-lock.json").read_text())
for name, package in npm["packages"].items():
    if "resolved" in package:
        wrong.append(f"package-lock.json: {name} carries a download address (omit-lockfile-registry-resolved)")
    if name and "integrity" not in package:
        wrong.append(f"package-lock.json: {name} has no integrity")

flake = json.loads((root / "flake.lock").read_text())
if set(flake["nodes"]) != {"root", "nixpkgs", "crane"}:
    wrong.append(f"flake.lock: unexpected inputs {sorted(flake['nodes'])}")
for name, node in flake["nodes"].items():
    locked = node.get("locked")
    if locked and not re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", locked.get("narHash", "")):
        wrong.append(f"flake.lock: {name} has no hash")
    if locked and not re.fullmatch(r"[0-9a-f]{40}", locked.get("rev", "")):
        wrong.append(f"flake.lock: {name} has no commit")
    if locked and "url" in locked:
        wrong.append(f"flake.lock: {name} carries an address")

counted = ", ".join(f"{len(packages)} crates in {name}" for name, packages in crates.items())
print("\n".join(wrong) or f"{counted}, {len(npm['packages']) - 1} npm packages, 2 flake inputs")
sys.exit(1 if wrong else 0)
