"""Writes a `docker load` archive to standard output, the same for the same input.

layers.py NAME:TAG CREATED ARCHITECTURE CONFIG GRAPH ROOT OWNERS

A layer for each store path of the reference graph (but the one that only names the others), and one for ROOT, whose
files belong to root but for those that OWNERS names ("uid:gid path").
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

image, created, architecture, config, graph, root, owners = sys.argv[1:]


def closure(path: str) -> list[str]:
    """Every path of the graph: path, deriver, number of references, references."""
    with open(path, encoding="utf-8") as file:
        lines = iter(file.read().splitlines())
    found = set()
    for store_path in lines:
        found.add(store_path)
        next(lines)
        for _ in range(int(next(lines))):
            next(lines)
    return sorted(it for it in found if not it.endswith("-references"))


def entry(tar: tarfile.TarFile, path: str, name: str, owner: tuple[int, int] = (0, 0)) -> None:
    """One file, its time fixed."""
    info = tar.gettarinfo(path, name)
    info.mtime, info.uname, info.gname = 1, "", ""
    info.uid, info.gid = owner
    if info.isreg():
        with open(path, "rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)


def walk(top: str) -> list[str]:
    """All below `top` and itself, in one order."""
    found = [top]
    for folder, folders, files in os.walk(top):
        found += [os.path.join(folder, it) for it in folders + files]
    return sorted(found)


def store_layer(path: str) -> bytes:
    """The layer of one store path, with the folders that lead to it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for parent in ("nix", "nix/store"):
            info = tarfile.TarInfo(parent)
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 1
            tar.addfile(info)
        for name in walk(path):
            entry(tar, name, name.lstrip("/"))
    return buffer.getvalue()


def last_layer() -> bytes:
    """What the image alone has."""
    owned = {}
    with open(owners, encoding="utf-8") as file:
        for line in file.read().splitlines():
            who, name = line.split(" ", 1)
            uid, gid = who.split(":")
            owned[os.path.normpath(name)] = (int(uid), int(gid))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in walk(root):
            name = os.path.relpath(path, root)
            if name != ".":
                entry(tar, path, name, owned.get(name, (0, 0)))
    return buffer.getvalue()


layers = [store_layer(path) for path in closure(graph)] + [last_layer()]
digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
with open(config, encoding="utf-8") as file:
    settings = json.load(file)
document = {
    "architecture": architecture,
    "os": "linux",
    "created": created,
    "config": settings,
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    "history": [{"created": created, "comment": "one store path"} for _ in layers[1:]]
    + [{"created": created, "comment": "files of the image"}],
}
raw = json.dumps(document, sort_keys=True).encode()
config_name = hashlib.sha256(raw).hexdigest() + ".json"
names = [f"{digest}/layer.tar" for digest in digests]
manifest = json.dumps([{"Config": config_name, "RepoTags": [image], "Layers": names}]).encode()

with (
    gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", mtime=0, filename="", compresslevel=6) as packed,
    tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
):
    for name, content in [*zip(names, layers, strict=True), (config_name, raw), ("manifest.json", manifest)]:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(content), 0o644, 1
        tar.addfile(info, io.BytesIO(content))
