"""The tests of the image: suite.py IMAGE PROGRAMS ARCHIVE, where PROGRAMS is cargo's folder of what was compiled here:
the double of the brokers, and in examples/ the node.

Prints a line a test, then the measured figures as one JSON object, then `N passed, N failed`.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import gzip
import itertools
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
import zoneinfo

from world import (
    HARDENED,
    PATIENCE_S,
    Container,
    Engine,
    NameServer,
    Node,
    Schwab,
    Wire,
    free_port,
    ready,
    running,
    wait_for,
    within,
)

IMAGE, PROGRAMS, ARCHIVE = sys.argv[1:]
SECRET = "c4n4ry" + "9f3a7e1d5b"
ROOT = pathlib.Path(__file__).resolve().parents[2]
figures: dict[str, float] = {}
engine = Engine(IMAGE)
node = Node(f"{PROGRAMS}/examples/node")
wire = Wire(node.port)
scratch = pathlib.Path(tempfile.mkdtemp(prefix="counterfill-container-"))


def settings(port: int, url: str | None = None, **more: str) -> list[str]:
    """What a bot needs, as options of docker run, and the host's loopback."""
    given = {
        **node.settings,
        "WS_RPC_URL": url or f"ws://127.0.0.1:{wire.port}/{SECRET}",
        "LISTEN": f"127.0.0.1:{port}",
        **more,
    }
    words = ["--network", "host"]
    for name, value in given.items():
        if value:
            words += ["--env", f"{name}={value}"]
    return words


def as_the_guide_has_it(env_file: pathlib.Path, secret: pathlib.Path, volume: str, name: str) -> list[str]:
    """The command of docs/guides/container.md that runs the bot, with what is another's there replaced by ours."""
    page = (ROOT / "docs/guides/container.md").read_text()
    words = shlex.split(re.search(r"^(docker run --detach (?:.*\\\n)*.*)$", page, re.MULTILINE)[1].replace("\\\n", " "))
    ours = {
        "counterfill": name,
        ".env": str(env_file),
        "/etc/counterfill/ws-rpc-url:/run/secrets/ws-rpc-url:ro": f"{secret}:/run/secrets/ws-rpc-url:ro",
        "counterfill:/data": f"{volume}:/data",
        "counterfill:VERSION": IMAGE,
    }
    assert set(ours) <= set(words), words
    return [ours.get(word, word) for word in words]


def position(container: Container) -> dict:
    """The one ticker's."""
    rows = container.rows("positions")
    return rows[0] if rows else {"exposure": "none", "fills": "0", "executions": "0"}


def healthy(container: Container) -> bool:
    """What the program inside says of it."""
    done = engine.docker("exec", container.name, "bot", "health", check=False)
    return done.returncode == 0 and "ready" in done.stdout


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


def test_trials_are_not_shipped() -> None:
    done = engine.once("sim", "--seeds", "1")
    assert done.returncode == 64 and "built without its trials" in done.stderr, done


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
        figures["memory_kB"] = memory_kb(container.pid(), "VmRSS")
        said = engine.docker("exec", container.name, "auth", "status").stdout
        assert "no broker login needed" in said, said
        wait_for("still ready", lambda: healthy(container))
        said = engine.docker("exec", container.name, "bot", "doctor", "--json", check=False).stdout
        checks = [json.loads(line) for line in said.splitlines()]
        ill = {check["name"] for check in checks if check["verdict"] in ("failed", "not_done")}
        assert ill <= {"head", "clock"}, checks  # The simulated chain keeps a time of its own.
        assert any("a bot runs on it" in check["found"] for check in checks), checks


def test_the_guide_s_command() -> None:
    """All its flags, the image's own LISTEN, and a network of the container's own: the line to the node ends inside."""
    url, env_file, volume = scratch / "ws-rpc-url", scratch / "guide.env", engine.volume()
    inside = 20_000
    url.write_text(f"ws://127.0.0.1:{inside}/{SECRET}\n")
    shutil.chown(url, 65532)
    url.chmod(0o400)
    template = (ROOT / ".env.example").read_text()
    for setting in ("ORDERBOOK", "ORDER_OWNER", "DEPLOYMENT_BLOCK"):
        template = re.sub(f"^{setting}=$", f"{setting}={node.settings[setting]}", template, flags=re.MULTILINE)
    assert re.search("^WS_RPC_URL=$", template, re.MULTILINE) and not re.search("^LISTEN=", template, re.MULTILINE)
    env_file.write_text(template)
    words = as_the_guide_has_it(env_file, url, volume, engine.name())
    container = Container(engine, words[words.index("--name") + 1])
    # This test's engine has no bridge; that a port is published needs one.
    engine.docker(*words[1:3], "--network", "none", *words[3:])
    try:
        pid = container.pid()
        line = Wire(node.port, listener=within(pid, lambda: socket.create_server(("127.0.0.1", inside))))
        wait_for("ready", lambda: healthy(container))
        assert line.taken > 0
        table = pathlib.Path(f"/proc/{pid}/net/tcp").read_text()
        assert "00000000:1F90 00000000:0000 0A" in table, f"nobody listens on 0.0.0.0:8080: {table}"
        for page in ("livez", "readyz"):
            within(pid, lambda: urllib.request.urlopen(f"http://127.0.0.1:8080/{page}", timeout=5).close())  # noqa: B023
        assert container.inspect("json .HostConfig.RestartPolicy") == '{"Name":"on-failure","MaximumRetryCount":5}'
        assert container.inspect(".HostConfig.Memory") == str(256 << 20)
        assert container.inspect(".Config.StopTimeout") == "20"
        assert SECRET not in engine.docker("inspect", container.name).stdout
        stopped(container)
    except BaseException:
        print(f"---- logs of {container.name}\n{container.logs()[-4000:]}\n----")
        raise
    finally:
        container.remove()


def processor_ms(pid: int) -> int:
    """User and system time of a process so far."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def memory_kb(pid: int, field: str) -> int:
    """VmRSS is what it holds now, VmHWM the most that it ever held."""
    return int(re.search(rf"^{field}:\s+(\d+) kB$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def test_what_it_takes() -> None:
    """Figures: idle, with a block a second and nothing in it, and then 400 fills in as many blocks, at once."""
    port = free_port()
    with running(engine, settings(port, HEDGE_FROM_BLOCK=str(node.sell(1_000) + 1))) as container:
        wait_for("ready", lambda: ready(port))
        pid, before = container.pid(), len(container.rows("fills"))
        used = processor_ms(pid)
        time.sleep(20)
        figures["processor_ms_in_20s"] = processor_ms(pid) - used
        begun = time.monotonic()
        for _ in range(400):
            node.sell(100)
        wait_for("all fills", lambda: len(container.rows("fills")) == before + 400)
        figures["fills_per_s"] = round(400 / (time.monotonic() - begun))
        wait_for("all hedged once", lambda: float(position(container)["executions"]) == 40)
        figures["memory_load_kB"] = memory_kb(pid, "VmHWM")


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


def seconds(told: str) -> float:
    """Since 1970, of a time as Docker prints it: Go leaves out the zeros at the fraction's end, or all of it."""
    whole, _, fraction = told.removesuffix("Z").partition(".")
    return datetime.datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()


def test_starts_fast() -> None:
    times = []
    for _ in range(5):
        port = free_port()
        begun = time.time()
        with running(engine, settings(port)) as container:
            wait_for("ready", lambda: ready(port))
            ended = time.time()
            started = seconds(container.inspect(".State.StartedAt"))
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
    """On a slow line, block by block: with the cursor above the first block, and it ends below what was there before."""
    first = int(node.settings["DEPLOYMENT_BLOCK"])
    last = [node.sell(10) for _ in range(100)][-1]
    mount = ("--volume", f"{engine.volume()}:/data")

    def cursor(said: str) -> int:
        status = json.loads(said or "{}")
        return ((status.get("engine") or status).get("cursor") or {"number": 0})["number"]

    def asked(container: Container) -> int:
        return cursor(engine.docker("exec", container.name, "bot", "status", "--json", check=False).stdout)

    port = free_port()
    wire.pause_s = 0.05
    try:
        with running(engine, [*settings(port, LOG_RANGE_BLOCKS="1"), *mount]) as container:
            wait_for("on its way", lambda: asked(container) > first)
            assert not ready(port)
            stopped(container)
    finally:
        wire.pause_s = 0.0
    ended = cursor(engine.once("status", "--json", options=mount).stdout)
    assert first < ended < last, f"blocks {first} to {last} were there, it ended at {ended}"


def test_sigterm_when_idle() -> None:
    times = []
    for _ in range(3):
        port = free_port()
        with running(engine, settings(port)) as container:
            wait_for("ready", lambda: ready(port))
            times.append(stopped(container))
    figures["sigterm_to_exit_ms"] = round(sorted(times)[1])


def paper_book(volume: str) -> contextlib.closing[sqlite3.Connection]:
    """The paper broker's own, beside the bot. SQLite gives the files that it adds for root to the owner of the book."""
    path = pathlib.Path(engine.volume_path(volume)) / "paper.db"
    return contextlib.closing(sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None))


def test_sigterm_before_an_order() -> None:
    """A fill is counted, its order is due and waits for confirmations: none goes out, and the next start sends it."""
    volume = engine.volume()
    mount = ["--volume", f"{volume}:/data"]
    port = free_port()
    with running(engine, [*settings(port, CONFIRMATIONS="64"), *mount]) as container:
        wait_for("ready", lambda: ready(port))
        block = node.sell(2_000)
        wait_for("the fill", lambda: any(row["block_number"] == block for row in container.rows("fills")))
        stopped(container)
        assert f"block {block}" in container.logs()
    with running(engine, [*settings(port), *mount]) as container:
        wait_for("all hedged once", lambda: hedged(container))


def test_sigterm_during_an_order_call() -> None:
    """The order call has no answer, for the paper broker's book is held by somebody else."""
    volume = engine.volume()
    mount = ["--volume", f"{volume}:/data"]
    port = free_port()
    with running(engine, [*settings(port), *mount]) as container:
        wait_for("all hedged before", lambda: ready(port) and (node.sold == 0 or hedged(container)))
        pid, before = container.pid(), container.logs().count("sent: ")
        with paper_book(volume) as book:
            with container.follow() as said:
                calls = (line for line in said if "sent: " in line)
                assert sum(1 for _ in itertools.islice(calls, before)) == before
                # Last of all: a read that meets the lock shuts the gate before the order, and the call waits 5 s only.
                book.execute("BEGIN IMMEDIATE")
                node.sell(2_000)
                assert next(calls, None), "no order went out"
                os.kill(pid, signal.SIGTERM)
            begun = time.monotonic()
            assert container.wait() == 0, container.logs()
            assert time.monotonic() - begun < 20, "it took its time"
            after = container.logs().rsplit("sent: ", 1)[1]
            assert "working: " not in after and "executed" not in after, after
    with running(engine, [*settings(port), *mount]) as container:
        wait_for("all hedged once", lambda: hedged(container))


def test_sigterm_while_an_order_is_polled() -> None:
    """The broker has accepted and nothing is filled: the next start goes on with that order."""
    volume = engine.volume()
    mount = ["--volume", f"{volume}:/data"]
    port = free_port()
    with running(engine, [*settings(port), *mount]) as container:
        wait_for("all hedged before", lambda: ready(port) and (node.sold == 0 or hedged(container)))
        # An order lasts a second and may be done before we look: as in crates/testkit/src/market.rs, the market does
        # not come to this one, for what the broker plans for it is put off by ten years.
        with paper_book(volume) as book:
            book.execute(
                "CREATE TRIGGER put_off AFTER INSERT ON plan BEGIN "
                "UPDATE plan SET at_ms = at_ms + 315360000000 WHERE number = NEW.number AND n = NEW.n; END"
            )
        node.sell(40_000)
        wait_for("the order works", lambda: any(row["state"] == "Working" for row in container.rows("hedges")))
        stopped(container)
        after = container.logs().rsplit("working: ", 1)[1]
        assert "filled: " not in after, after
    with paper_book(volume) as book:
        # The market goes on.
        book.executescript("BEGIN IMMEDIATE; DROP TRIGGER put_off; UPDATE plan SET at_ms = n; COMMIT")
    with running(engine, [*settings(port), *mount]) as container:
        wait_for("all hedged once", lambda: hedged(container))


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


def must_say(said: str, *parts: str) -> None:
    """All of it, in what a bot said."""
    for part in parts:
        assert part in said, f"{part} is not in: {said}"


def test_bind_mount_of_root() -> None:
    folder = scratch / "of-root"
    folder.mkdir(mode=0o755)
    said = refused("--volume", f"{folder}:/data")
    must_say(
        said,
        *("/data", "can not be written", "belongs to 0:0 with mode 0755", "wanted is 65532:65532 with 0750"),
        *("chown -R 65532:65532 /data", "fsGroup: 65532"),
    )
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
    must_say(said, "belongs to 1234:1235", "wanted is 65532:65532", "--user 1234:1235", "chown -R", "fsGroup: 65532")
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
    must_say(said, "/data", "read-only file system", "belongs to 65532:65532 with mode", "Mount the volume writable")


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
        must_say(said, "no space is left for /data", "belongs to 65532:65532 with mode 0", "wanted is 65532:65532 with 0")
        must_say(said, "df -h /data", "chown -R 65532:65532", "--user", "fsGroup: 65532")
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
        must_say(said, "/data can not hold a ledger: it is on a network file system (fuse.sshfs)")
        must_say(said, "belongs to 65532:65532 with mode 0755", "wanted is 65532:65532 with 0750")
        must_say(said, "named volume", "chown -R 65532:65532", "--user", "fsGroup: 65532")
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
        assert first.inspect(".State.Running") == "true"
        wait_for("still ready", lambda: ready(port))


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


def test_a_backup_is_put_back() -> None:
    """As docs/guides/container.md has it: what was hedged since is known by the broker, and is not hedged again."""
    volume, port, backup = engine.volume(), free_port(), scratch / "backup.db"
    node.sell(2_000)
    with running(engine, [*settings(port), "--volume", f"{volume}:/data"]) as container:
        wait_for("all hedged", lambda: hedged(container))
        stopped(container)
        engine.docker("cp", f"{container.name}:/data/bot.db", str(backup))
        engine.docker("start", container.name)
        node.sell(3_000)
        wait_for("all hedged after the backup", lambda: hedged(container))
        after = position(container)
        stopped(container)
        folder = pathlib.Path(engine.volume_path(volume))
        (folder / "aside").mkdir()
        for ledger in folder.glob("bot.db*"):
            if ledger.name in ("bot.db", "bot.db-wal", "bot.db-shm"):
                ledger.rename(folder / "aside" / ledger.name)
        subprocess.run(["install", "-o", "65532", "-g", "65532", "-m", "0600", backup, folder / "bot.db"], check=True)
        engine.docker("start", container.name)
        wait_for("ready on the backup", lambda: ready(port))
        wait_for("all known again", lambda: hedged(container))
        assert position(container) == after, (position(container), after)


def older_ledger(used: pathlib.Path, version: str) -> pathlib.Path:
    """What a ledger would be if an earlier version had written it: that version's schema with the rows of `used`."""
    older = used.with_suffix(".older")
    subprocess.run([f"{PROGRAMS}/examples/older_ledger", older, version], check=True)
    with contextlib.closing(sqlite3.connect(older)) as connection:
        connection.execute("ATTACH ? AS used", (str(used),))
        names = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'refinery%'"
        for (table,) in connection.execute(names).fetchall():
            both = [
                {row[1] for row in connection.execute(f"PRAGMA {schema}.table_info({table})")}
                for schema in ("main", "used")
            ]
            columns = ", ".join(sorted(both[0] & both[1]))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM used.{table}")
        connection.commit()
    return older


def test_every_older_schema_is_migrated() -> None:
    """From each schema that an earlier version wrote: backed up, migrated, and it goes on."""
    versions = subprocess.run([f"{PROGRAMS}/examples/older_ledger"], check=True, capture_output=True, text=True).stdout.split()
    assert len(versions) > 1, f"there is no older schema: {versions}"
    for version in versions[:-1]:
        volume = engine.volume()
        port = free_port()
        options = [*settings(port), "--volume", f"{volume}:/data"]
        node.sell(2_500)
        with running(engine, options) as container:
            wait_for("all hedged", lambda: hedged(container))
            before = position(container)
            counted = {verb: len(container.rows(verb)) for verb in ("fills", "hedges")}
            stopped(container)
        folder = pathlib.Path(engine.volume_path(volume))
        older_ledger(folder / "bot.db", version).replace(folder / "bot.db")
        shutil.chown(folder / "bot.db", 65532, 65532)
        (folder / "bot.db").chmod(0o600)
        with running(engine, options) as container:
            wait_for("ready on the migrated ledger", lambda: ready(port))
            assert position(container) == before
            assert {verb: len(container.rows(verb)) for verb in counted} == counted
            backups = [it.name for it in folder.iterdir() if it.name.startswith(f"bot.db.backup-{version}-")]
            assert len(backups) == 1, [it.name for it in folder.iterdir()]
            node.sell(1_000)
            wait_for("all hedged on the migrated ledger", lambda: hedged(container))
    figures["older_schemas"] = len(versions) - 1


def test_newer_schema_is_refused() -> None:
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


def hidden(row: dict[str, str]) -> bool:
    """A secret, which is never shown."""
    return row["value"] == "(hidden)" and row["name"] in by_file()


def test_every_variable_by_environment() -> None:
    given = names_and_examples()
    assert set(REQUIRED) < set(given) and len(given) > 20, sorted(given)
    done = config("show --json", given)
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == set(given), set(rows) ^ set(given)
    for name, row in rows.items():
        assert row["source"] == "environment", row
        # Of an address that holds a secret only scheme and host are shown.
        shown = re.match(r"\w+://[^/]+", given[name])[0] if name in by_file() and "://" in given[name] else given[name]
        assert row["value"] == shown or hidden(row), row
    figures["variables"] = len(rows)


def told(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """A configuration that is refused, and says this."""
    assert done.returncode == 78, f"{done.returncode}: {done.stdout}{done.stderr}"
    must_say(done.stderr, *parts)
    assert SECRET not in done.stdout + done.stderr


def by_file() -> set[str]:
    """The variables that may come from a file, by the reference page that the program's own table makes."""
    page = (ROOT / "docs/reference/configuration.md").read_text()
    return set(re.findall(r"^\| `([A-Z_]+)`, `\1_FILE` \|", page, re.MULTILINE))


def test_every_variable_by_file() -> None:
    """What carries a key is read from a file; for everything else a file is refused by name, not passed over."""
    secret = scratch / "secrets"
    secret.mkdir()
    mount = ("--volume", f"{secret}:/run/secrets:ro")
    given = names_and_examples()
    whole = {name: given[name] for name in REQUIRED}
    assert "WS_RPC_URL" in by_file() <= set(given)
    for name in by_file():
        value = whole.get(name, "a-key")
        (secret / name).write_text(f"{value}\n")
        (secret / f"{name}-malformed").write_text("\n")
        rest = {**whole, name: ""}
        done = config("show --json", {**rest, f"{name}_FILE": f"/run/secrets/{name}"}, *mount)
        row = next(row for row in map(json.loads, done.stdout.splitlines()) if row["name"] == name)
        assert row["source"] == f"file /run/secrets/{name}", row
        told(config("check", {**rest, f"{name}_FILE": "/run/secrets/none"}, *mount), f"{name} (file /run/secrets/none)")
        twice = {**whole, name: value, f"{name}_FILE": f"/run/secrets/{name}"}
        told(config("check", twice, *mount), f"{name} is given twice")
        malformed = f"/run/secrets/{name}-malformed"
        told(config("check", {**rest, f"{name}_FILE": malformed}, *mount), f"{name} (file {malformed}): is empty")
    others = {f"{name}_FILE": "/run/secrets/value" for name in set(given) - by_file()}
    done = config("check", {**whole, **others})
    told(done, *(f"{name} must not be set" for name in others), f"has {len(others)} errors")


def test_every_missing_variable() -> None:
    """A required one is named, alone and with all others; for the rest the default holds, or nothing does."""
    given = names_and_examples()
    whole = {name: given[name] for name in REQUIRED}
    told(config("check", {}), *(f"{name} is missing" for name in REQUIRED))
    for name in REQUIRED:
        told(config("check", {**whole, name: ""}), f"{name} is missing", "has 1 error")
    assert config("check", whole).returncode == 0
    rows = {row["name"]: row for row in map(json.loads, config("show --json", whole).stdout.splitlines())}
    for name in set(given) - set(REQUIRED):
        row = rows[name]
        if row["source"] == "default":
            assert row["value"] == given[name], (row, given[name])
        else:
            # These the image sets.
            images = name in ("DATABASE_URL", "LISTEN", "RUST_LOG", "SSL_CERT_FILE")
            assert row["source"] == ("environment" if images else "not set"), row


def test_every_malformed_variable() -> None:
    """All at once, so that one run tells everything, and each alone, so that none is found by another's error only."""
    others = {"DATABASE_URL": "ftp://", "APP_TAG": "a\tb"}  # What is wrong for the rest is right for a tag.
    wrong = {name: others.get(name, "= ; !") for name in names_and_examples()}
    told(config("check", wrong), *(f"  {name} (environment)" for name in wrong), f"has {len(wrong)} errors")
    whole = {name: value for name, value in names_and_examples().items() if name in REQUIRED}
    for name, value in wrong.items():
        told(config("check", {**whole, name: value}), f"  {name} (environment)")


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


def test_tls_with_the_image_s_bundle_and_one_authority_more() -> None:
    """At the place that the image names, as the image has it, and with one certificate at its end that we can use."""
    authority, context = certificates()
    tls = Wire(node.port, context)
    port = free_port()
    options = settings(port, url=f"wss://localhost:{tls.port}/{SECRET}")
    variables = json.loads(engine.docker("image", "inspect", "--format", "{{json .Config.Env}}", IMAGE).stdout)
    place = next(pair.split("=", 1)[1] for pair in variables if pair.startswith("SSL_CERT_FILE="))
    bundle = scratch / "bundle.pem"
    with running(engine, options) as container:
        engine.docker("cp", "--follow-link", f"{container.name}:{place}", str(bundle))
    with bundle.open("a") as file:
        file.write(authority.read_text())
    assert bundle.read_text().count("BEGIN CERTIFICATE") > 50
    with running(engine, [*options, "--volume", f"{bundle}:{place}:ro"]):
        wait_for("ready", lambda: ready(port))


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
    new_york = zoneinfo.ZoneInfo("America/New_York")
    # Whatever is told, it is told between this moment and the one after it was found.
    before = datetime.datetime.now(new_york)
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
        now = datetime.datetime.now(new_york)
        if found is True:
            assert any(it.weekday() < 5 and 9 <= it.hour < 16 for it in (before, now)), "traded outside the session"
        else:
            opens = datetime.datetime.fromisoformat(found[1] + "+00:00").astimezone(new_york)
            assert (opens.hour, opens.minute) == (9, 30) and opens > before, opens


# ---- a broker with a login


def log_in(container: Container, schwab: Schwab) -> str:
    """A person in the running container, and in a browser: all that was said."""
    words = ["docker", "exec", "--interactive", container.name, "auth", "login"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as login:
        said = ""
        for line in login.stdout:
            said += line
            if line.startswith(schwab.url):
                login.stdin.write(f"{schwab.browse(line.strip())}\n")
                login.stdin.close()
        assert login.wait(60) == 0, said
    return said


def test_a_login_beside_the_running_bot() -> None:
    """At Schwab's double: a bot that waits for a login, `auth login` in its container, one hedge, the doctor's word."""
    schwab = Schwab(f"{PROGRAMS}/broker-doubles", scratch)
    try:
        schwab.obey("price", symbol="TSLA", bid="99.99", ask="100.01", last="100")
        port, volume, key = free_port(), engine.volume(), "5eca4a9e" * 8
        more = {
            "BROKER": "schwab",
            "APP_KEY": schwab.KEY,
            "APP_SECRET": schwab.SECRET,
            "REDIRECT_URI": schwab.CALLBACK,
            "ENCRYPTION_KEY": key,
            "LIVE_ACCOUNT": schwab.ACCOUNT[-4:],
            "BASE_URL": schwab.url,
            "MARKET_HOURS": "broker",
            "SSL_CERT_FILE": "/ca.pem",
            "HEDGE_FROM_BLOCK": str(node.sell(1_000) + 1),
        }
        mounts = ["--volume", f"{schwab.authority}:/ca.pem:ro", "--volume", f"{volume}:/data"]
        with running(engine, [*settings(port, **more), *mounts]) as container:
            nobody = engine.docker("exec", container.name, "auth", "status", check=False)
            assert nobody.returncode == 1, nobody
            wait_for("the want of a login", lambda: "auth login" in container.logs())
            assert not ready(port)
            said = log_in(container, schwab)
            assert f"…{schwab.ACCOUNT[-4:]}" in said and schwab.ACCOUNT not in said, said
            wait_for("ready, without a restart", lambda: ready(port))
            status = engine.docker("exec", container.name, "auth", "status").stdout
            node.sell(2_000)
            rows = lambda: [row["state"] for row in container.rows("hedges")]  # noqa: E731
            wait_for("a hedge", lambda: rows() == ["Filled"])
            orders = schwab.tell("orders")
            assert len(orders) == 1 and orders[0]["symbol"] == "TSLA", orders
            told = engine.docker("exec", container.name, "bot", "doctor", "--json", check=False).stdout
            checks = {check["name"]: check for check in map(json.loads, told.splitlines())}
            ill = {name for name, check in checks.items() if check["verdict"] in ("failed", "not_done")}
            assert ill <= {"head", "clock"}, checks  # The simulated chain keeps a time of its own.
            assert checks["login"]["verdict"] == checks["broker tls"]["verdict"] == "ok", checks
            assert len(schwab.tell("orders")) == 1, "the doctor orders nothing"
            for text in (container.logs(), said, status, told):
                for secret in (schwab.SECRET, schwab.ACCOUNT, key):
                    assert secret not in text, f"{secret} is in {text}"
            assert container.stop()[0] == 0
    finally:
        schwab.close()


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
    with gzip.open(ARCHIVE) as file:
        archive = file.read()
    assert b"counterfill-revision=" in archive, "the archive is not read"
    assert SECRET.encode() not in archive, "the secret is in the image"


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
