"""Host names that cannot be resolved, certificates that are wrong, receivers that fail."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from monitor.sandbox import Behaviour
from tests.proofs.faults.fault import BOTH, Cannot, Fault
from tests.proofs.faults.interpose import Interposed
from tests.proofs.faults.world import Options, World, knows_localhost


@asynccontextmanager
async def nameless(world: World) -> AsyncIterator[None]:
    """No host name can be resolved; what is connected is cut, so that it has to be."""
    if world.interposed is None or world.interposed.why_not:
        raise Cannot(f"names cannot be made to fail: {world.interposed and world.interposed.why_not}")
    if not knows_localhost():
        raise Cannot("this machine has no name for itself")
    world.interposed.fail_names(failing=True)

    async def cut() -> None:
        while True:
            port = world.port
            await world.vendor.stop()
            await world.vendor.start(port)
            await asyncio.sleep(1)

    cutting = asyncio.create_task(cut())
    try:
        yield
    finally:
        cutting.cancel()
        await asyncio.gather(cutting, return_exceptions=True)
        world.interposed.fail_names(failing=False)


# --- TLS --------------------------------------------------------------------------------------------------------------


class Front:
    """Speaks TLS before the vendor, with the certificate it is told to show."""

    def __init__(self, folder: Path, behind: int) -> None:
        self._folder = folder
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def show(self, certificate: str) -> None:
        """Cut every connection, and show this certificate from now on."""
        await self.stop()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._folder / f"{certificate}.pem", self._folder / f"{certificate}.key")
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._server = None

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(OSError):
            inner, outward = await asyncio.open_connection("127.0.0.1", self._behind)
            await asyncio.gather(_pass_on(reader, outward), _pass_on(inner, writer))
        self._writers.discard(writer)


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


def make_certificates(folder: Path, interposed: Interposed) -> None:
    """An authority and what it signed, each with its key: good, expired, for another host; and one by a stranger."""
    for authority in ("authority", "stranger"):
        _openssl(interposed, folder, "req", "-x509", "-days", "30", "-subj", f"/CN={authority}", out=authority)
    for name, host, days, signer in (
        ("good", "localhost", 0.0, "authority"),
        ("expired", "localhost", -20.0, "authority"),
        ("elsewhere", "elsewhere.example.org", 0.0, "authority"),
        ("strange", "localhost", 0.0, "stranger"),
    ):
        signing = ("-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-addext", f"subjectAltName=DNS:{host}")
        arguments = ("req", "-x509", "-days", "10", "-subj", f"/CN={host}", *signing)
        _openssl(interposed, folder, *arguments, out=name, days=days)


def _openssl(interposed: Interposed, folder: Path, *arguments: str, out: str, days: float = 0.0) -> None:
    paths = [str(folder / part) if part.endswith((".pem", ".key")) else part for part in arguments]
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", folder / f"{out}.key")
    interposed.run("openssl", *paths, *key, "-out", folder / f"{out}.pem", days=days)


async def stand_before(world: World) -> None:
    """Let the vendor speak TLS."""
    assert world.interposed is not None
    if world.interposed.why_not:
        raise Cannot(f"no certificates: {world.interposed.why_not}")
    if not knows_localhost():
        raise Cannot("no certificates: this machine has no name for itself")
    try:
        await asyncio.to_thread(make_certificates, world.folder, world.interposed)
    except OSError as error:
        raise Cannot(f"no certificates: {error}") from None
    world.front = Front(world.folder, world.port)
    await world.front.show("good")
    world.address = f"https://localhost:{world.front.port}"
    world.extra = f'ca_file = "{world.folder / "authority.pem"}"\n'


@asynccontextmanager
async def showing(world: World, *, certificate: str) -> AsyncIterator[None]:
    assert isinstance(world.front, Front)
    await world.front.show(certificate)
    try:
        yield
    finally:
        await world.front.show("good")


# --- receivers --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def receiving(world: World, *, behaviour: Behaviour) -> AsyncIterator[None]:
    """Every receiver behaves so; what hangs there at the end is cut, what is only slow is not."""
    for receiver in world.receivers.values():
        receiver.behaviour = behaviour
    try:
        yield
    finally:
        for receiver in world.receivers.values():
            receiver.behaviour = Behaviour.TAKE
            if behaviour is not Behaviour.TAKE_SLOWLY:
                await receiver.stop()
                await receiver.start(receiver.port)


@asynccontextmanager
async def down(world: World) -> AsyncIterator[None]:
    """Nothing listens where the receivers were."""
    for receiver in world.receivers.values():
        await receiver.stop()
    try:
        yield
    finally:
        for receiver in world.receivers.values():
            await receiver.start(receiver.port)


# --- all of them ------------------------------------------------------------------------------------------------------

TLS = Options(tls=True)
FAULTS = [
    Fault("names cannot be resolved", nameless, "could not be resolved", lasts=20, databases=BOTH),
    *(
        Fault(
            f"TLS: {what}",
            partial(showing, certificate=certificate),
            "certificate is not trusted",
            lasts=5,
            options=TLS,
            combines=False,
        )
        for what, certificate in (
            ("certificate expired", "expired"),
            ("certificate of another host", "elsewhere"),
            ("certificate by a stranger", "strange"),
        )
    ),
    Fault("receivers: down", down, "not delivered", lasts=8, quick=True, databases=BOTH),
    *(
        Fault(
            f"receivers: {what}",
            partial(receiving, behaviour=behaviour),
            "not delivered",
            lasts=lasts,
            lines=20,
            settles=420
            if behaviour is Behaviour.TAKE_AND_HANG
            else 150,  # what may have arrived waits for five minutes
        )
        for what, behaviour, lasts in (
            ("refuse (503)", Behaviour.REFUSE, 12),
            ("reset", Behaviour.RESET, 8),
            ("hang", Behaviour.HANG, 36),
            ("take and never answer", Behaviour.TAKE_AND_HANG, 36),
            ("redirect", Behaviour.REDIRECT, 5),
        )
    ),
    Fault("receivers: slow", partial(receiving, behaviour=Behaviour.TAKE_SLOWLY), lasts=10),
]
