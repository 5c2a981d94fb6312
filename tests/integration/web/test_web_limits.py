"""A thousand connections, slow clients and slow readers: nothing of it stops an answer or keeps a descriptor."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from visitor import Site, read_to_the_end, settings_of
from wait import LONG, STOP, until

from monitor.web import server
from monitor.web.server import BACKLOG, CONNECTIONS

IDLE = 1000
CROWD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), 90) for _ in range(int(sys.argv[2]))]
for one in held:
    one.sendall(sys.argv[3].encode())
print(len(held), flush=True)
sys.stdin.read()
"""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def settled_descriptors() -> int:
    """How many there are once no connection is being closed any more."""
    counts: list[int] = []
    await until(lambda: counts.append(descriptors()) or (len(counts) >= 10 and len(set(counts[-10:])) == 1))
    return counts[-1]


@asynccontextmanager
async def crowd(site: Site, size: int, sent: str = "") -> AsyncIterator[None]:
    """Another process with so many connections, on each of which it said this and waits."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CROWD, str(site.port), str(size), sent),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    try:
        async with asyncio.timeout(LONG):
            assert await holder.stdout.readline() == f"{size}\n".encode()
        yield
    finally:
        holder.kill()
        await holder.wait()


@pytest.mark.parametrize("sent", ["", "GET /healthz HTTP/1.1\r\nX-Never-Ending: "])
async def test_a_thousand_idle_connections_stop_no_answer_and_cost_few_descriptors(site: Site, sent: str) -> None:
    before = descriptors()
    async with crowd(site, IDLE, sent):
        for _ in range(20):
            assert (await site.ask("/healthz")).status == 200
            assert descriptors() <= before + CONNECTIONS + BACKLOG
    await until(lambda: descriptors() <= before + 4)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""])
async def test_a_head_that_is_too_long_is_refused_also_in_one_piece(site: Site, end: bytes) -> None:
    for size, status in ((server.HEAD_BYTES - 200, b"200"), (server.HEAD_BYTES, b"400"), (200_000, b"400")):
        if not end and status == b"200":
            continue
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * size + end)
        async with asyncio.timeout(LONG):
            assert (await read_to_the_end(reader)).startswith(b"HTTP/1.1 " + status)
        writer.close()


async def test_who_asks_nothing_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.2)
    for sent in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(sent)
        async with asyncio.timeout(LONG):
            assert await read_to_the_end(reader) == b""
        writer.close()


async def test_who_drips_a_request_is_cut_off_all_the_same(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    cut_off = asyncio.create_task(read_to_the_end(reader))
    await until(lambda: writer.write(b"G") or cut_off.done())
    assert cut_off.result() == b""
    writer.close()


async def test_who_does_not_take_the_answer_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WHOLE_TIMEOUT", 3)
    monkeypatch.setattr("monitor.web.pages.render", lambda *_: (b"x" * 20_000_000, "text/plain"))
    await site.ask("/readyz")  # opens the database
    before = await settled_descriptors()
    _, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: descriptors() == before + 2)
    await until(lambda: descriptors() == before + 1)
    writer.close()


async def test_readers_that_take_nothing_give_way_to_who_asks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.web.pages.render", lambda *_: (b"x" * 5_000_000, "text/plain"))
    async with crowd(site, 2 * CONNECTIONS, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        assert (await site.ask("/healthz")).status == 200


async def test_the_thousand_do_not_hold_up_the_stop(tmp_path, sqlite_url) -> None:
    site = Site(settings_of(tmp_path, sqlite_url))
    served = site.serve()
    await served.__aenter__()
    async with crowd(site, IDLE):
        began = time.monotonic()
        await served.__aexit__(None, None, None)
        assert time.monotonic() - began < STOP
