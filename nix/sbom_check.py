"""Checks a bill of materials: sbom_check.py SBOM GLIBC SAID Cargo.lock STORE_PATH...

A crate is known by its purl, what else is linked in by its CPE. SAID is what `bot version --json` printed.
"""

import json
import re
import sys
import tomllib

bill, glibc, said, lock, *wanted = sys.argv[1:]
with open(bill, encoding="utf-8") as file:
    sbom = json.load(file)
with open(said, encoding="utf-8") as file:
    program = json.load(file)
with open(lock, "rb") as file:
    packages = tomllib.load(file)["package"]

assert sbom["bomFormat"] == "CycloneDX" and sbom["specVersion"] == "1.5"
libraries = [it for it in sbom["components"] if it["type"] == "library"]
crates = {(it["name"], it["version"]): it["purl"] for it in libraries if "purl" in it}
locked = {(it["name"], it["version"]): f"pkg:cargo/{it['name']}@{it['version']}" for it in packages if "source" in it}
assert crates == locked, set(crates.items()) ^ set(locked.items())
linked = {it["cpe"] for it in libraries if "purl" not in it}
rustc = re.fullmatch(r"rustc (\d+\.\d+\.\d+)\S* .*", program["rustc"])[1]
assert all(re.fullmatch(r"\d+\.\d+(\.\d+)*", number) for number in (glibc, program["sqlite"])), (glibc, program)
names = {("gnu", "glibc", glibc), ("rust-lang", "rust", rustc), ("sqlite", "sqlite", program["sqlite"])}
due = {f"cpe:2.3:a:{vendor}:{name}:{number}:*:*:*:*:*:*:*" for vendor, name, number in names}
assert linked == due, linked ^ due
paths = {it["properties"][0]["value"] for it in sbom["components"] if it["type"] == "file"}
assert set(wanted) <= paths, paths
references = [it["bom-ref"] for it in sbom["components"]]
assert len(references) == len(set(references)), "a reference stands twice"
print(f"{len(crates)} crates, {len(linked)} libraries more, {len(paths)} store paths")
