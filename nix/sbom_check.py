"""Checks a bill of materials: sbom_check.py SBOM Cargo.lock STORE_PATH..."""

import json
import sys
import tomllib

with open(sys.argv[1], encoding="utf-8") as file:
    sbom = json.load(file)
with open(sys.argv[2], "rb") as file:
    packages = tomllib.load(file)["package"]

assert sbom["bomFormat"] == "CycloneDX" and sbom["specVersion"] == "1.5"
listed = {(it["name"], it.get("version")) for it in sbom["components"] if it["type"] == "library"}
locked = {(it["name"], it["version"]) for it in packages if "source" in it}
assert listed == locked, listed ^ locked
paths = {it["properties"][0]["value"] for it in sbom["components"] if it["type"] == "file"}
assert set(sys.argv[3:]) <= paths, paths
references = [it["bom-ref"] for it in sbom["components"]]
assert len(references) == len(set(references)), "a reference stands twice"
print(f"{len(listed)} crates, {len(paths)} store paths")
