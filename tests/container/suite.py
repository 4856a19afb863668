"""The tests of the image: suite.py IMAGE NODE ARCHIVE, where NODE is the program of examples/node.rs.

Prints a line a test, then the measured figures as one JSON object, then `N passed, N failed`.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import zoneinfo

from world import HARDENED, Container, Engine, NameServer, Node, Wire, free_port, ready, running, wait_for

IMAGE, NODE, ARCHIVE = sys.argv[1:]
SECRET = "c4n4ry" + "9f3a7e1d5b"
ROOT = pathlib.Path(__file__).resolve().parents[2]
figures: dict[str, float] = {}
engine = Engine(IMAGE)
node = Node(NODE)
wire = Wire(node.port)
scratch = pathlib.Path(tempfile.mkdtemp(prefix="counterfill-container-"))


def settings(port: int, url: str | None = None, **more: str) -> list[str]:
    """What a bot needs, as options of docker run, and the host's loopback."""
    given = {
        **node.settings,
        "WS_RPC_URL": url or f"ws://127.0.0.1:{wire.port}/{SECRET}",
        "LISTEN": f"127.0.0.1:{port}",
        "HEAD_AGE_MAX": "3s",
        **more,
    }
    words = ["--network", "host"]
    for name, value in given.items():
        if value:
            words += ["--env", f"{name}={value}"]
    return words


def position(container: Container) -> dict:
    """The one ticker's."""
    rows = container.rows("positions")
    return rows[0] if rows else {"exposure": "none", "fills": "0", "executions": "0"}


def hedged(container: Container) -> bool:
    """Every whole share sold was bought, exactly once."""
    row = position(container)
    return (float(row["fills"]), float(row["executions"])) == (-node.sold / 1000, node.sold // 1000)


# ---- what it is


def test_version_is_the_label() -> None:
    labels = json.loads(engine.docker("image", "inspect", "--format", "{{json .Config.Labels}}", IMAGE).stdout)
    said = json.loads(engine.once("version", "--json").stdout)
    assert said["revision"] == labels["org.opencontainers.image.revision"] != "unknown"
    assert said["version"] == labels["org.opencontainers.image.version"]
    assert said["rustc"].startswith("rustc 1.")


def test_nothing_can_start_a_shell() -> None:
    for program in ("sh", "/bin/sh", "/bin/bash", "busybox", "/usr/bin/env"):
        done = engine.once(options=("--entrypoint", program))
        assert done.returncode == 127, f"{program}: {done.returncode}"


def test_demo_needs_nothing() -> None:
    done = engine.once("demo", "--for", "20s", "--json", options=HARDENED)
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and verdict["lost"] == 0 and verdict["doubled"] == 0 and verdict["hedges"] > 0, verdict
    figures["demo_ready_ms"] = verdict["ready_ms"]


def test_runs_as_nobody_with_nothing() -> None:
    port = free_port()
    with running(engine, settings(port)) as container:
        wait_for("ready", lambda: ready(port))
        status = dict(
            line.split(":\t", 1) for line in pathlib.Path(f"/proc/{container.pid()}/status").read_text().splitlines()
        )
        assert status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"
        assert container.inspect(".HostConfig.ReadonlyRootfs") == "true"
        figures["memory_kB"] = int(status["VmRSS"].split()[0])
        said = engine.docker("exec", container.name, "auth", "status").stdout
        assert "no broker login needed" in said, said
        assert "ready" in container.bot("health")


# ---- health, start, stop


def test_healthcheck_follows_the_chain() -> None:
    port = free_port()
    # The image's own check, only asked more often than every 15 s.
    options = [*settings(port), "--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "2"]
    with running(engine, options) as container:
        health = lambda: container.inspect(".State.Health.Status")  # noqa: E731
        wait_for("healthy", lambda: health() == "healthy")
        wire.cut()
        try:
            wait_for("unhealthy", lambda: health() == "unhealthy")
        finally:
            wire.mend()
        wait_for("healthy again", lambda: health() == "healthy")


def test_starts_fast() -> None:
    times = []
    for _ in range(5):
        port = free_port()
        begun = time.time()
        with running(engine, settings(port)) as container:
            wait_for("ready", lambda: ready(port))
            ended = time.time()
            started = datetime.datetime.fromisoformat(container.inspect(".State.StartedAt")[:26] + "+00:00").timestamp()
            assert begun < started < ended
            times.append((ended - started) * 1000)
    figures["start_to_ready_ms"] = round(sorted(times)[2])


def stopped(container: Container) -> float:
    code, took = container.stop()
    assert code == 0, f"exit {code}"
    assert took < 20_000, f"{took} ms"
    return took


def test_sigterm_before_the_chain_was_ever_there() -> None:
    with running(engine, settings(free_port(), url="ws://127.0.0.1:1/")) as container:
        wait_for("an attempt", lambda: "WARN" in container.logs())
        stopped(container)


def test_sigterm_while_catching_up() -> None:
    port = free_port()
    wire.pause_s = 0.2
    try:
        with running(engine, settings(port, LOG_RANGE_BLOCKS="1")) as container:
            wait_for("a connection", lambda: "WARN" in container.logs() or engine.docker("logs", container.name).stderr)
            time.sleep(0.5)
            assert not ready(port)
            stopped(container)
    finally:
        wire.pause_s = 0.0


def test_sigterm_when_idle() -> None:
    times = []
    for _ in range(3):
        port = free_port()
        with running(engine, settings(port)) as container:
            wait_for("ready", lambda: ready(port))
            times.append(stopped(container))
    figures["sigterm_to_exit_ms"] = round(sorted(times)[1])


def test_sigterm_around_an_order() -> None:
    """At ten moments around a hedge; whatever the moment, afterwards everything is hedged once."""
    volume = engine.volume()
    for attempt in range(10):
        port = free_port()
        with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as container:
            wait_for("ready", lambda: ready(port))
            node.sell(1_300)
            time.sleep(attempt * 0.01)
            stopped(container)
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as container:
        wait_for("all hedged once", lambda: hedged(container))


def test_sigterm_when_the_chain_is_away() -> None:
    port = free_port()
    with running(engine, settings(port)) as container:
        wait_for("ready", lambda: ready(port))
        wire.cut()
        try:
            wait_for("not ready", lambda: not ready(port))
            stopped(container)
        finally:
            wire.mend()


# ---- where the ledger lies


def test_named_volume_takes_the_owner() -> None:
    volume = engine.volume()
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{volume}:/data"]):
        wait_for("ready", lambda: ready(port))
        found = os.stat(engine.volume_path(volume))
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (65532, 65532, 0o750)
        assert (pathlib.Path(engine.volume_path(volume)) / "bot.db").exists()


def refused(*options: str) -> str:
    """A bot that must not start: what it says."""
    with running(engine, [*settings(free_port()), *options]) as container:
        code = container.wait()
        said = container.logs()
        assert code == 78, f"exit {code}: {said}"
        return said


def test_bind_mount_of_root() -> None:
    folder = scratch / "of-root"
    folder.mkdir(mode=0o755)
    said = refused("--volume", f"{folder}:/data")
    for part in ("/data", "belongs to 0:0 with mode 0755", "wanted is 65532:65532", "chown -R 65532:65532 /data", "fsGroup: 65532"):
        assert part in said, f"{part}: {said}"
    # The remedy works, on this side of the mount.
    shutil.chown(folder, 65532, 65532)
    folder.chmod(0o750)
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{folder}:/data"]):
        wait_for("ready", lambda: ready(port))


def test_bind_mount_of_somebody() -> None:
    folder = scratch / "of-somebody"
    folder.mkdir()
    os.chown(folder, 1234, 1235)
    said = refused("--volume", f"{folder}:/data")
    assert "--user 1234:1235" in said, said
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{folder}:/data", "--user", "1234:1235"]):
        wait_for("ready as its owner", lambda: ready(port))


def test_group_of_the_volume() -> None:
    """Kubernetes' fsGroup: the folder is root's, the group ours, and its mode says so."""
    folder = scratch / "of-group"
    folder.mkdir()
    os.chown(folder, 0, 65532)
    folder.chmod(0o2775)
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{folder}:/data"]):
        wait_for("ready", lambda: ready(port))


def test_read_only_mount() -> None:
    folder = scratch / "read-only"
    folder.mkdir()
    os.chown(folder, 65532, 65532)
    said = refused("--volume", f"{folder}:/data:ro")
    assert "read-only file system" in said and "Mount the volume writable" in said, said


def test_full_disk() -> None:
    folder = scratch / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,uid=65532,gid=65532,mode=0750", "tmpfs", folder], check=True)
    try:
        filler = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            while os.write(filler, b"x" * 4096):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
        finally:
            os.close(filler)
        said = refused("--volume", f"{folder}:/data")
        assert "no space is left for /data" in said and "df -h" in said, said
    finally:
        subprocess.run(["umount", folder], check=True)


def test_network_file_system() -> None:
    """Its kind as the kernel's table of mounts says it: a FUSE file system under the name that sshfs has."""
    below, folder = scratch / "below", scratch / "network"
    below.mkdir()
    folder.mkdir()
    os.chown(below, 65532, 65532)
    subprocess.run(["bindfs", "-o", "subtype=sshfs,allow_other", below, folder], check=True)
    try:
        mounts = pathlib.Path("/proc/self/mountinfo").read_text()
        assert f"{folder} " in mounts and "fuse.sshfs" in mounts, "the test's own mount is not what it should be"
        said = refused("--volume", f"{folder}:/data")
        assert "/data can not hold a ledger: it is on a network file system (fuse.sshfs)" in said, said
    finally:
        subprocess.run(["umount", folder], check=True)


def test_second_instance() -> None:
    volume = engine.volume()
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as first:
        wait_for("ready", lambda: ready(port))
        with running(engine, [*settings(free_port()), "--volume", f"{volume}:/data"]) as second:
            assert second.wait() == 75, second.logs()
            assert "is in use by process" in second.logs(), second.logs()
        assert first.inspect(".State.Running") == "true" and ready(port)


# ---- what survives


def test_state_survives_removal_and_kills() -> None:
    volume = engine.volume()
    for kill in range(20):
        port = free_port()
        with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as container:
            wait_for("a ledger", lambda: container.rows("positions") or node.sold == 0)
            node.sell(random.Random(kill).choice([400, 1_000, 2_700]))
            time.sleep(random.Random(kill).random() * 0.3)
            engine.docker("kill", "--signal", "KILL", container.name)
            assert container.wait() == 137
    port = free_port()
    with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as container:
        wait_for("all hedged once after 20 kills", lambda: hedged(container))
        before = position(container)
        fills, hedges = len(container.rows("fills")), len(container.rows("hedges"))
        stopped(container)
    with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as container:
        wait_for("ready after docker rm", lambda: ready(port))
        assert position(container) == before
        assert (len(container.rows("fills")), len(container.rows("hedges"))) == (fills, hedges)
    figures["kills"] = 20


def test_newer_schema_is_refused() -> None:
    """There is one released schema yet, so nothing older to migrate from; a newer one must not be touched."""
    volume = engine.volume()
    port = free_port()
    options = [*settings(port), "--volume", f"{volume}:/data"]
    with running(engine, options) as container:
        wait_for("a ledger", lambda: container.rows("positions"))
        stopped(container)
    ledger = pathlib.Path(engine.volume_path(volume)) / "bot.db"
    with sqlite3.connect(ledger) as connection:
        connection.execute(
            "INSERT INTO refinery_schema_history SELECT 99, 'later', applied_on, checksum FROM refinery_schema_history LIMIT 1"
        )
    connection.close()
    os.chown(ledger, 65532, 65532)
    with running(engine, options) as container:
        assert container.wait() == 78, container.logs()
        assert "has schema 99" in container.logs(), container.logs()


# ---- configuration


def names_and_examples() -> dict[str, str]:
    """Every setting of .env.example, with a value that fits."""
    found = {}
    for line in (ROOT / ".env.example").read_text().splitlines():
        if match := re.match(r"(?:# Example: |#)?([A-Z][A-Z_]+)=(.+)$", line):
            found[match[1]] = match[2]
    return found


def config(verb: str, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    words = [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]
    return engine.once("config", *verb.split(), options=(*HARDENED, *words, *options))


REQUIRED = ("WS_RPC_URL", "ORDERBOOK", "ORDER_OWNER", "DEPLOYMENT_BLOCK")
# Any text is a file's name.
ANY_TEXT = {"SSL_CERT_FILE"}


def test_every_variable_by_environment() -> None:
    given = names_and_examples()
    assert set(REQUIRED) < set(given) and len(given) > 20, sorted(given)
    done = config("show --json", given)
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == set(given), set(rows) ^ set(given)
    for name, row in rows.items():
        assert row["source"] == "environment", row
        assert row["value"] == ("wss://rpc.example.com" if name == "WS_RPC_URL" else given[name]), row
    figures["variables"] = len(rows)


def test_secrets_by_file() -> None:
    secret = scratch / "secrets"
    secret.mkdir()
    (secret / "url").write_text(f"wss://rpc.example.com/{SECRET}\n")
    base = {name: value for name, value in names_and_examples().items() if name in REQUIRED[1:]}
    mount = ("--volume", f"{secret}:/run/secrets:ro")
    done = config("check", {**base, "WS_RPC_URL_FILE": "/run/secrets/url"}, *mount)
    assert done.returncode == 0, done.stderr
    done = config("check", {**base, "WS_RPC_URL_FILE": "/run/secrets/none"}, *mount)
    assert done.returncode == 78 and "/run/secrets/none" in done.stderr, done.stderr
    done = config("check", {**base, "WS_RPC_URL_FILE": "/run/secrets/url", "WS_RPC_URL": "wss://a.example/"}, *mount)
    assert done.returncode == 78 and "given twice" in done.stderr and SECRET not in done.stderr, done.stderr


def test_each_missing_and_each_malformed_variable_is_named() -> None:
    whole = {name: value for name, value in names_and_examples().items() if name in REQUIRED}
    done = config("check", {})
    assert done.returncode == 78 and all(f"{name} is missing" in done.stderr for name in REQUIRED), done.stderr
    for name in REQUIRED:
        done = config("check", {**whole, name: ""})
        assert done.returncode == 78 and f"{name} is missing" in done.stderr and "1 error" in done.stderr, done.stderr
    for name in names_and_examples():
        if name in ANY_TEXT:
            continue
        wrong = "ftp://" if name == "DATABASE_URL" else "=;!"
        done = config("check", {**whole, name: wrong})
        assert done.returncode == 78 and f"  {name} (environment)" in done.stderr, f"{name}: {done.returncode} {done.stderr}"
    done = config("check", whole)
    assert done.returncode == 0, done.stderr


# ---- names, certificates, time


def test_names_from_etc_hosts() -> None:
    port = free_port()
    url = f"ws://node.hosts:{wire.port}/"
    with running(engine, [*settings(port, url=url), "--add-host", "node.hosts:127.0.0.1"]):
        wait_for("ready", lambda: ready(port))


def test_names_from_a_name_server() -> None:
    server = NameServer()
    port = free_port()
    resolv = scratch / "resolv.conf"
    resolv.write_text(f"nameserver {server.ADDRESS}\n")
    try:
        options = [*settings(port, url=f"ws://node.test:{wire.port}/"), "--volume", f"{resolv}:/etc/resolv.conf:ro"]
        with running(engine, options):
            wait_for("ready", lambda: ready(port))
        assert "node.test" in server.asked
    finally:
        server.close()


def certificates() -> tuple[pathlib.Path, ssl.SSLContext]:
    """An authority of our own, and what a server on `localhost` needs that it vouches for."""
    folder = scratch / "tls"
    if not folder.exists():
        folder.mkdir()
        for command in (
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out csr.pem -subj /CN=localhost",
            "x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext",
        ):
            (folder / "ext").write_text("subjectAltName=DNS:localhost\n")
            subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
        (folder / "ca.pem").chmod(0o644)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "ca.pem", context


def test_tls_with_an_authority_of_the_operator() -> None:
    authority, context = certificates()
    tls = Wire(node.port, context)
    port = free_port()
    more = {"SSL_CERT_FILE": "/ca.pem"}
    options = [*settings(port, url=f"wss://localhost:{tls.port}/{SECRET}", **more), "--volume", f"{authority}:/ca.pem:ro"]
    with running(engine, options) as container:
        wait_for("ready", lambda: ready(port))
        assert SECRET not in container.logs()


def test_tls_with_the_image_s_authorities() -> None:
    """The bundle is there and read: a stranger's certificate is refused for its issuer, not for want of a bundle."""
    _, context = certificates()
    tls = Wire(node.port, context)
    with running(engine, settings(free_port(), url=f"wss://localhost:{tls.port}/{SECRET}")) as container:
        wait_for("a refusal", lambda: "UnknownIssuer" in container.logs() or "unknown issuer" in container.logs().lower())
        assert SECRET not in container.logs()
    with running(
        engine, settings(free_port(), url=f"wss://localhost:{tls.port}/", SSL_CERT_FILE="/none.pem")
    ) as container:
        wait_for("another refusal", lambda: "/none.pem" in container.logs())


def test_time_zones() -> None:
    """The exchange's hours are New York's; what the bot says of them must be what another database says."""
    port = free_port()
    with running(engine, settings(port, PAPER_SESSIONS="nyse")) as container:
        wait_for("ready or a ledger", lambda: container.rows("positions"))
        node.sell(1_000)
        moment = re.compile(r"opens (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")

        def told() -> object:
            everything = container.logs() + container.bot("status") + container.bot("status", "--json")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                everything += answer.read().decode()
            return moment.search(everything) or hedged(container)

        found = wait_for("the session is told", told)
        new_york = zoneinfo.ZoneInfo("America/New_York")
        now = datetime.datetime.now(new_york)
        if found is True:
            assert now.weekday() < 5 and 9 <= now.hour < 16, "traded outside the session"
        else:
            opens = datetime.datetime.fromisoformat(found[1] + "+00:00").astimezone(new_york)
            assert (opens.hour, opens.minute) == (9, 30) and opens > now, opens


# ---- secrets


def test_secrets_are_nowhere() -> None:
    port = free_port()
    secret = scratch / "planted"
    secret.mkdir()
    (secret / "url").write_text(f"ws://user:{SECRET}@127.0.0.1:{wire.port}/{SECRET}?key={SECRET}")
    options = [word for word in settings(port) if SECRET not in word and word != "--env"]
    given = {name: value for name, value in (word.split("=", 1) for word in options if "=" in word)}
    words = ["--network", "host", *(word for name, value in given.items() for word in ("--env", f"{name}={value}"))]
    words += ["--env", "WS_RPC_URL_FILE=/run/secrets/url", "--env", "RUST_LOG=trace", "--volume", f"{secret}:/run/secrets:ro"]
    volume = engine.volume()
    with running(engine, [*words, "--volume", f"{volume}:/data"]) as container:
        wait_for("ready", lambda: ready(port))
        node.sell(1_000)
        wait_for("a fill", lambda: container.rows("fills"))
        told = {
            "the logs, at trace": container.logs(),
            "docker inspect": engine.docker("inspect", container.name).stdout,
            "docker image inspect": engine.docker("image", "inspect", IMAGE).stdout,
            "docker history": engine.docker("history", "--no-trunc", IMAGE).stdout,
            "bot config show": container.bot("config", "show", "--json"),
        }
        for path in ("readyz", "metrics", ""):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                told[f"/{path}"] = answer.read().decode()
        for where, text in told.items():
            assert text and SECRET not in text, f"the secret is in {where}"
        for file in pathlib.Path(engine.volume_path(volume)).iterdir():
            if file.is_file():
                assert SECRET.encode() not in file.read_bytes(), f"the secret is in {file.name}"
        exported = scratch / "exported.tar"
        engine.docker("export", "--output", str(exported), container.name)
        assert SECRET.encode() not in exported.read_bytes(), "the secret is in the container's files"
    assert SECRET.encode() not in pathlib.Path(ARCHIVE).read_bytes()


def main() -> int:
    tests = [(name, it) for name, it in globals().items() if name.startswith("test_")]
    failed = []
    for name, test in tests:
        begun = time.monotonic()
        try:
            test()
        except Exception:  # noqa: BLE001 - a test that fails must not end the others
            failed.append(name)
            traceback.print_exc(file=sys.stdout)
        print(f"{'FAIL' if name in failed else 'ok  '} {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    engine.clean()
    node.close()
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"figures {json.dumps(figures)}")
    print(f"{len(tests) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
