"""What the container tests run against: a container engine, a simulated node, and a line between them that can be cut.

Everything listens on 127.0.0.1; containers that need it share the host's network, the others have none.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

# Far longer than anything here takes, on a machine that has much else to do; only what is broken reaches it.
PATIENCE_S = 180


def wait_for(what: str, is_so: Callable[[], object], patience_s: float = PATIENCE_S) -> object:
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + patience_s
    while True:
        answer = is_so()
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {patience_s} s in vain until {what}"
        time.sleep(0.05)


class Engine:
    """Docker's client, spoken to by its command line, as an operator would."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.made: list[str] = []
        self.count = 0

    def docker(self, *words: str, check: bool = True, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """One command."""
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout_s, check=False)
        assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.returncode}\n{done.stderr}"
        return done

    def name(self) -> str:
        """A container name of ours."""
        self.count += 1
        name = f"counterfill-test-{os.getpid()}-{self.count}"
        self.made.append(name)
        return name

    def once(self, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Runs a container to its end."""
        return self.docker("run", "--rm", "--name", self.name(), "--network", "none", *options, self.image, *words, check=False)

    def start(self, options: list[str], *words: str) -> "Container":
        """Starts a container and leaves it running."""
        name = self.name()
        self.docker("run", "--detach", "--name", name, *HARDENED, *options, self.image, *words)
        return Container(self, name)

    def volume(self) -> str:
        """A fresh named volume."""
        self.count += 1
        name = f"counterfill-test-{os.getpid()}-volume-{self.count}"
        self.docker("volume", "create", name)
        return name

    def volume_path(self, name: str) -> str:
        """Where its files are on this machine."""
        return self.docker("volume", "inspect", "--format", "{{.Mountpoint}}", name).stdout.strip()

    def clean(self) -> None:
        """Removes every container of ours."""
        for name in self.made:
            self.docker("rm", "--force", "--volumes", name, check=False)


# As docs/guides/container.md has it.
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


class Container:
    """One container of ours."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name = engine, name

    def inspect(self, field: str) -> str:
        """One field, as docker prints it."""
        return self.engine.docker("inspect", "--format", "{{" + field + "}}", self.name).stdout.strip()

    def logs(self) -> str:
        """Both streams."""
        done = self.engine.docker("logs", self.name)
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def follow(self) -> Iterator[Iterator[str]]:
        """What it said and says, line by line, the moment it is said; ends with the container, or with our patience."""
        words = ["docker", "logs", "--follow", self.name]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # Whoever reads on waits for a line without bound.
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        try:
            yield iter(process.stdout)
        finally:
            patience.cancel()
            process.kill()
            process.wait()

    def bot(self, *words: str) -> str:
        """Asks the program inside, by its name alone."""
        return self.engine.docker("exec", self.name, "bot", *words).stdout

    def rows(self, verb: str) -> list[dict]:
        """What a reading verb lists; nothing before the ledger's birth."""
        done = self.engine.docker("exec", self.name, "bot", verb, "--json", check=False)
        return [json.loads(line) for line in done.stdout.splitlines()] if done.returncode == 0 else []

    def pid(self) -> int:
        """On this machine."""
        return int(self.inspect(".State.Pid"))

    def wait(self) -> int:
        """Until it has ended: its exit code."""
        return int(self.engine.docker("wait", self.name).stdout)

    def stop(self) -> tuple[int, float]:
        """SIGTERM; exit code and milliseconds. Docker would send SIGKILL after 30 s: 137."""
        begun = time.monotonic()
        self.engine.docker("stop", "--time", "30", self.name)
        return int(self.inspect(".State.ExitCode")), (time.monotonic() - begun) * 1000

    def remove(self) -> None:
        """As docker rm."""
        self.engine.docker("rm", "--force", self.name)


class Node:
    """The simulated node of examples/node.rs."""

    def __init__(self, program: str) -> None:
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        facts = json.loads(self.process.stdout.readline())
        self.port = int(facts.pop("url").rstrip("/").rsplit(":", 1)[1])
        self.settings: dict[str, str] = facts
        self.sold = 0

    def sell(self, milli_shares: int) -> int:
        """An order of ours sells; a block of its own, whose number is returned."""
        self.sold += milli_shares
        self.process.stdin.write(f"fill SELL {milli_shares}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """Ends it."""
        self.process.stdin.close()
        self.process.wait(PATIENCE_S)


class Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: where a login ends is not a place that is there."""

    def redirect_request(self, *_: object) -> None:
        """None."""


class Schwab:
    """The double of Schwab behind TLS, as a process, and the browser of a person who logs in there."""

    # As crates/broker-doubles has them.
    KEY, SECRET = "doubleappkey0000000000000000CANA", "doubleCANARYsecr"
    ACCOUNT, CALLBACK = "49359741", "https://127.0.0.1:8182"

    def __init__(self, program: str, folder: pathlib.Path) -> None:
        self.authority = folder / "schwab.pem"
        words = [program, "schwab", "--ca", str(self.authority)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[1]
        self.authority.chmod(0o644)
        context = ssl.create_default_context(cafile=self.authority)
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), Stay)

    def obey(self, what: str, **order: object) -> None:
        """One word of the control plane."""
        request = urllib.request.Request(f"{self.url}/__fake/{what}", json.dumps(order).encode(), method="POST")
        self.opener.open(request, timeout=PATIENCE_S).close()

    def tell(self, what: str) -> list[dict]:
        """`log` or `orders`."""
        with self.opener.open(f"{self.url}/__fake/{what}", timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def browse(self, address: str) -> str:
        """Logs in and says yes: the address that the browser ends on."""
        try:
            self.opener.open(address, timeout=PATIENCE_S)
        except urllib.error.HTTPError as answer:
            assert answer.code == 302, answer
            return answer.headers["Location"]
        raise AssertionError("the broker's page went nowhere")

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


class Wire:
    """A TCP line to the node, plain or TLS, that can be cut, mended and slowed; or one that begins at a given listener."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, listener: socket.socket | None = None) -> None:
        self.behind, self.tls = port, tls
        self.loop = asyncio.new_event_loop()
        self.writers: set[asyncio.StreamWriter] = set()
        self.taken = 0
        self.pause_s = 0.0
        self.down = False
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server: asyncio.Server | None = None
        if listener:
            self.server = self._do(asyncio.start_server(self._serve, sock=listener))
            return
        # Not the kernel's choice: an outgoing connection could take that while the line is cut.
        self.port = free_port()
        self.mend()

    def _do(self, work) -> object:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def mend(self) -> None:
        """Listens, at the same port every time."""
        self.down = False
        self.server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls))

    def cut(self) -> None:
        """Ends every connection and takes no new one."""

        async def end() -> None:
            self.down = True
            self.server.close()
            for writer in list(self.writers):
                writer.close()

        self._do(end())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        # Known before the wait for the node, so that a cut meanwhile ends it too.
        self.writers.add(writer)
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        except OSError:
            self.writers.discard(writer)
            writer.close()
            return
        self.writers.add(inner_writer)
        if self.down:
            # Cut while it was being made.
            writer.close()
            inner_writer.close()
        both = [self._pump(reader, inner_writer), self._pump(inner_reader, writer)]
        await asyncio.gather(*both, return_exceptions=True)
        self.writers -= {writer, inner_writer}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
                sink.write(data)
                await sink.drain()
        sink.close()


CLONE_NEWNET = 0x40000000


def within(pid: int, work: Callable[[], object]) -> object:
    """Does this work in the network of that process. A socket that is made there stays there, whoever uses it."""

    def inside() -> object:
        with open(f"/proc/{pid}/ns/net", "rb") as network:
            # Of this thread alone, which ends with the work.
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return work()

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(inside).result(PATIENCE_S)


class NameServer:
    """Answers every question for an address with 127.0.0.1, on its own loopback address."""

    ADDRESS = "127.0.0.153"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.ADDRESS, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, who = self.socket.recvfrom(1500)
                self.socket.sendto(self._answer(query), who)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        self.asked.append(".".join(labels))
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        found = kind == 1 and labels[-1] == "test"
        head = query[:2] + struct.pack("!HHHHH", 0x8180 if labels[-1] == "test" else 0x8183, 1, int(found), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1")
        return head + question + (record if found else b"")

    def close(self) -> None:
        """Ends it."""
        self.socket.close()


# Ports that the kernel gives to no outgoing connection (it begins at 32768), which would take one before the bot does.
PORTS = range(20_000, 30_000)
# Every next one is another; two runs beside each other begin at different ones.
port_counts = itertools.count(os.getpid())


def free_port() -> int:
    """A port that was free just now, and that nobody got from here before."""
    for count in itertools.islice(port_counts, len(PORTS)):
        port = PORTS[count % len(PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def ready(port: int) -> bool:
    """What /readyz says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def running(engine: Engine, options: list[str], *words: str) -> Iterator[Container]:
    """A container that is removed afterwards, its logs shown if the test failed."""
    container = engine.start(options, *words)
    try:
        yield container
    except BaseException:
        print(f"---- logs of {container.name}\n{container.logs()[-4000:]}\n----")
        raise
    finally:
        container.remove()
