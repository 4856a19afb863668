"""Prints a CycloneDX bill of materials: sbom.py VERSION REVISION GLIBC SAID Cargo.lock REFERENCES_GRAPH...

SAID is what `bot version --json` printed. Every package of the lock file is listed, those that only tests or other
systems use included: a list that is too long is found out at once, one that is too short never. What is linked into the
program and is no crate has no purl that a scanner would know it by, and so a CPE instead.
"""

import json
import sys
import tomllib

version, revision, glibc, said, lock, *graphs = sys.argv[1:]

with open(said, encoding="utf-8") as file:
    program = json.load(file)
# "rustc 1.95.0 (…)"
linked = {
    "glibc": ("gnu", glibc),
    "rust": ("rust-lang", program["rustc"].split()[1]),
    "sqlite": ("sqlite", program["sqlite"]),
}
with open(lock, "rb") as file:
    packages = tomllib.load(file)["package"]

components = []
for package in packages:
    if "source" not in package:
        continue  # the program itself, which is the subject
    name, number = package["name"], package["version"]
    component = {
        "type": "library",
        "bom-ref": f"pkg:cargo/{name}@{number}",
        "name": name,
        "version": number,
        "purl": f"pkg:cargo/{name}@{number}",
    }
    if "checksum" in package:
        component["hashes"] = [{"alg": "SHA-256", "content": package["checksum"]}]
    components.append(component)

for name, (vendor, number) in linked.items():
    components.append(
        {
            "type": "library",
            "bom-ref": f"linked:{name}@{number}",
            "name": name,
            "version": number,
            "cpe": f"cpe:2.3:a:{vendor}:{name}:{number}:*:*:*:*:*:*:*",
        }
    )

# A graph is, for each path: the path, its deriver, the number of its references, the references.
paths = set()
for graph in graphs:
    with open(graph, encoding="utf-8") as file:
        lines = iter(file.read().splitlines())
    for path in lines:
        paths.add(path)
        next(lines)
        for _ in range(int(next(lines))):
            next(lines)
for path in sorted(paths):
    name = path.rsplit("/", 1)[1]
    components.append(
        {"type": "file", "bom-ref": f"nix:{name}", "name": name, "properties": [{"name": "nix:path", "value": path}]}
    )

subject = {"type": "application", "bom-ref": "counterfill", "name": "counterfill", "version": version}
subject["properties"] = [{"name": "git:revision", "value": revision}]
document = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"component": subject},
    "components": components,
    "dependencies": [{"ref": "counterfill", "dependsOn": [component["bom-ref"] for component in components]}],
}
json.dump(document, sys.stdout, indent=1, sort_keys=True)
print()
