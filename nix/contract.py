"""Checks the built image against what is promised of it, byte by byte, and prints its figures as one JSON object.

contract.py ARCHIVE --version V --revision R [--closure PROGRAM] [--canary TEXT]...

ARCHIVE is a `docker load` archive. Nothing is unpacked onto the disk. An image above its target is told of, loudly, and
is no failure: no feature is given up for it. One above the ceiling is: something has come along that is no program.
"""

import argparse
import gzip
import io
import itertools
import json
import os
import re
import stat
import struct
import sys
import tarfile

parser = argparse.ArgumentParser()
parser.add_argument("archive")
parser.add_argument("--version", required=True)
parser.add_argument("--revision", required=True)
parser.add_argument("--closure", help="the program's store path; the entry point must be in it")
parser.add_argument("--canary", action="append", default=[], help="text that must be in no layer and no configuration")
asked = parser.parse_args()

TARGETS = {"loaded": 9_000_000, "compressed": 4_500_000}
CEILINGS = {"loaded": 14_000_000, "compressed": 7_000_000}

wrong = []
above = []


def must(holds: bool, what: str) -> None:
    """Notes a promise that is not kept; all of them are told."""
    if not holds:
        wrong.append(what)


with open(asked.archive, "rb") as file:
    packed = file.read()
unpacked = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
archive = tarfile.open(fileobj=io.BytesIO(unpacked))


PT_DYNAMIC, PT_INTERP = 2, 3
DT_NULL, DT_NEEDED = 0, 1


def wants(content: bytes) -> list[str]:
    """What an ELF file (64 bits, little endian, as both our systems have it) asks for beside itself."""
    if content[:6] != b"\x7fELF\x02\x01" or len(content) < 64:
        return ["to be another kind of file: it is no 64-bit little-endian ELF"]
    found = []
    (offset,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for number in range(count):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", content, offset + number * size)
        if kind == PT_INTERP:
            found.append("a dynamic linker, " + content[start : start + length].rstrip(b"\0").decode())
        if kind == PT_DYNAMIC:
            tags = itertools.takewhile(lambda it: it[0] != DT_NULL, struct.iter_unpack("<qQ", content[start : start + length]))
            needed = sum(1 for tag, _ in tags if tag == DT_NEEDED)
            if needed:
                found.append(f"shared libraries, {needed} of them")
    if not count:
        found.append("to be linked: it has no program headers")
    return found


def member(name: str) -> bytes:
    """A file of the archive."""
    return archive.extractfile(name).read()


(manifest,) = json.loads(member("manifest.json"))
raw_config = member(manifest["Config"])
image = json.loads(raw_config)
config = image["config"]
layers = [member(name) for name in manifest["Layers"]]

# ---- the configuration

environment = dict(pair.split("=", 1) for pair in config["Env"])
program = config["Entrypoint"][0]
must(config["User"] == "65532:65532", f"User is {config['User']}")
must(config["Entrypoint"] == [program] and program.endswith("/bin/bot"), f"Entrypoint is {config['Entrypoint']}")
must(asked.closure in (None, program.removesuffix("/bin/bot")), f"{program} is not in {asked.closure}")
must(config["Cmd"] == ["run"], f"Cmd is {config['Cmd']}")
must(config["WorkingDir"] == "/data", f"WorkingDir is {config['WorkingDir']}")
must(list(config["Volumes"]) == ["/data"], f"Volumes are {config['Volumes']}")
must(list(config["ExposedPorts"]) == ["8080/tcp"], f"ExposedPorts are {config['ExposedPorts']}")
must(config["StopSignal"] == "SIGTERM", f"StopSignal is {config['StopSignal']}")
health = config["Healthcheck"]
must(health["Test"] == ["CMD", program, "health"], f"Healthcheck is {health['Test']}")
seconds = {name: health[name] / 1e9 for name in ("Interval", "Timeout", "StartPeriod")}
must(seconds == {"Interval": 15, "Timeout": 5, "StartPeriod": 30}, f"Healthcheck has {seconds}")
must(health["Retries"] == 3, f"Healthcheck has {health['Retries']} retries")
must(environment["DATABASE_URL"] == "sqlite:///data/bot.db", "DATABASE_URL")
must(environment["RUST_LOG"] == "info", "RUST_LOG")
must(environment["LISTEN"] == "0.0.0.0:8080", "LISTEN")
must(environment["PATH"] == os.path.dirname(program), "PATH is not the program's folder")
must(set(environment) == {"DATABASE_URL", "RUST_LOG", "LISTEN", "PATH", "SSL_CERT_FILE"}, f"Env is {sorted(environment)}")
labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
must(labels["version"] == asked.version, f"the version label is {labels['version']}")
must(labels["revision"] == asked.revision, f"the revision label is {labels['revision']}")
must({"title", "description", "created", "licenses"} <= set(labels), f"labels are {sorted(labels)}")
must(manifest["RepoTags"] == [f"counterfill:{asked.version}"], f"tags are {manifest['RepoTags']}")
must((image["os"], image["architecture"]) in {("linux", "amd64"), ("linux", "arm64")}, "os or architecture")

# ---- every file of every layer

files: dict[str, tarfile.TarInfo] = {}
contents: dict[str, bytes] = {}
tells = [text.encode() for text in asked.canary]
for number, layer in enumerate(layers):
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for entry in tar:
            name = "/" + entry.name.removeprefix("./").strip("/")
            files[name] = entry
            if entry.isfile():
                contents[name] = tar.extractfile(entry).read()
    for tell in tells:
        must(tell not in layer, f"a planted secret is in layer {number}")
for tell in tells:
    must(tell not in raw_config, "a planted secret is in the configuration")

SHELLS = re.compile(r"/(sh|bash|dash|ash|zsh|fish|ksh|busybox|toybox|perl|python[0-9.]*|env|su|sudo|login)$")
for name, entry in files.items():
    must(not SHELLS.search(name), f"{name} could start a shell")
    must(not entry.mode & (stat.S_ISUID | stat.S_ISGID), f"{name} is setuid or setgid")
    writable = entry.mode & 0o022 and not entry.issym()
    must(not writable or name == "/tmp", f"{name} can be written by others")
    must(not entry.isdev(), f"{name} is a device")
    own = (65532, 65532) if name == "/data" else (0, 0)
    must((entry.uid, entry.gid) == own, f"{name} belongs to {entry.uid}:{entry.gid}")
    must(not re.search(r"\.env$|\.db(-\w+)?$|/\.git(/|$)", name), f"{name} has no place in an image")

executables = [name for name, entry in files.items() if entry.isfile() and entry.mode & 0o111]
must(executables == [program], f"executables are {executables}")
for want in wants(contents.get(program, b"")):
    must(False, f"{program} wants {want}")
link = files.get(os.path.dirname(program) + "/auth")
must(link is not None and link.issym() and link.linkname == "bot", "bin/auth is no link to bot")
for name, mode in {"/data": 0o750, "/tmp": 0o1777}.items():
    entry = files.get(name)
    must(entry is not None and entry.isdir() and entry.mode & 0o7777 == mode, f"{name} is not a folder of mode {mode:o}")
for name, line in {"/etc/passwd": b"bot:x:65532:65532:", "/etc/group": b"bot:x:65532:"}.items():
    must(line in contents.get(name, b""), f"{name} does not know bot")
bundle = environment.get("SSL_CERT_FILE", "")
while bundle in files and files[bundle].issym():
    bundle = os.path.normpath(os.path.join(os.path.dirname(bundle), files[bundle].linkname))
certificates = contents.get(bundle, b"").count(b"BEGIN CERTIFICATE")
must(certificates > 50, f"SSL_CERT_FILE holds {certificates} certificates")
must(asked.revision.encode() in contents.get(program, b""), "the program does not carry its revision")
# Words of the trials, which no shipped program holds: names of faults, and the crate that loses what was written. A test
# of `dependencies` finds the same words in the sources.
for trial in (b"fate: share by share", b"disk: a write is torn", b"faulty_disk", b"faulty-disk"):
    must(trial not in contents.get(program, b""), f"the program holds the trials' {trial.decode()!r}")

stores = sorted({"/".join(name.split("/")[:4]) for name in files if name.count("/") >= 3 and name.startswith("/nix/store/")})
must(len(stores) <= 3, f"{len(stores)} store paths: {stores}")
for name, content in contents.items():
    for found in set(re.findall(rb"/nix/store/[0-9a-z]{32}-[-.+\w]+", content)):
        known = found.decode() in stores or found.startswith(b"/nix/store/" + b"e" * 32)
        must(known, f"{name} refers to {found.decode()}, which is not there")

loaded = sum(entry.size for entry in files.values())
for kind, size in {"loaded": loaded, "compressed": len(packed)}.items():
    must(size <= CEILINGS[kind], f"{size} bytes {kind}, more than {CEILINGS[kind]}")
    if size > TARGETS[kind]:
        above.append(f"{size} bytes {kind}, {size - TARGETS[kind]} above the target of {TARGETS[kind]}")

figures = {
    "bytes_compressed": len(packed),
    "bytes_loaded": loaded,
    "bytes_program": len(contents.get(program, b"")),
    "layers": len(layers),
    "store_paths": len(stores),
    "above_target": above,
    "diff_ids": image["rootfs"]["diff_ids"],
}
json.dump(figures, sys.stdout)
print()
for line in above:
    print(f"NOTE image: {line}", file=sys.stderr)
for line in wrong:
    print(f"image: {line}", file=sys.stderr)
sys.exit(1 if wrong else 0)
