"""A broker of your own, and the exam that it passes: an exchange behind a folder of files.

Whoever has no network between two programs has a folder: questions go in, answers and news come
out, and a file that is rewritten all the time says that somebody is there.

Run it: python examples/own_gateway.py
"""

import itertools
import os
import tempfile
import threading
import time
from pathlib import Path

import msgspec

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.gateway import Gateway
from ml4t.backtest.live.words import (
    Answer,
    Change,
    Execution,
    Link,
    Report,
    Request,
    Standing,
    VenueEvent,
)
from ml4t.backtest.testing.gateways import GatewayContract
from ml4t.backtest.testing.venues import ScriptedVenue

LOOK = 0.002  # seconds between two looks into the folder
WORDS = {"send": Request, "cancel": str, "replace": Change, "find": str, "executions": int}
PATIENCE = 0.5  # seconds for an answer, and for a sign of life


def write(path, content):
    """Whole or not at all: nobody reads half a file."""
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.msgpack.encode(content))
    Path(part).replace(path)


def read(path, kind):
    return msgspec.msgpack.decode(path.read_bytes(), type=kind)


class FolderGateway(Gateway):
    """Carries a session's requests into a folder, and what happens out of it."""

    name = "folder"

    def __init__(self, folder):
        self.folder = Path(folder)
        self.closed = threading.Event()
        self.thread = None
        self.numbers = itertools.count()

    def connect(self, inbox):
        self.closed.clear()
        news = set((self.folder / "news").iterdir())
        standing = self.standing()
        self.thread = threading.Thread(target=self.listen, args=[inbox, news], daemon=True)
        self.thread.start()
        return standing

    def close(self):
        self.closed.set()
        if self.thread is not None:
            self.thread.join()

    def listen(self, inbox, seen):
        """The only work of the gateway's thread is to put what comes on the inbox."""
        is_up, beat, heard = True, b"", time.monotonic()
        while not self.closed.wait(LOOK):
            for path in sorted(set((self.folder / "news").glob("*.news")) - seen):
                seen.add(path)
                inbox.put("broker", read(path, VenueEvent))
            before, beat = beat, (self.folder / "alive").read_bytes()
            heard = time.monotonic() if beat != before else heard
            if is_up != (time.monotonic() - heard < PATIENCE):
                is_up = not is_up
                inbox.put(
                    "broker", Link(is_up, "the exchange is back" if is_up else "it is silent")
                )

    def obstacle(self, order):
        return "the folder has no auctions" if order.time_in_force in ("opg", "cls") else ""

    def send(self, request):
        return self.order("send", request)

    def cancel(self, client_id):
        return self.order("cancel", client_id)

    def replace(self, change):
        return self.order("replace", change)

    def find(self, client_id):
        return self.ask("find", client_id, tuple[Report, ...])

    def open_orders(self):
        return self.ask("open_orders", None, list[tuple[Report, str]])

    def executions(self, since):
        return self.ask("executions", since, list[Execution])

    def standing(self):
        return self.ask("standing", None, Standing)

    def order(self, call, content):
        """No answer to an order is no error: nobody knows what became of it."""
        try:
            return self.ask(call, content, Answer)
        except ConnectionLost as error:
            return Answer(None, str(error))

    def ask(self, call, content, kind):
        name = f"{os.getpid()}-{id(self)}-{next(self.numbers)}"
        answer = self.folder / "answers" / name
        write(self.folder / "questions" / f"{name}.ask", (call, content))
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if answer.exists():
                return read(answer, kind)
            time.sleep(LOOK)
        raise ConnectionLost(f"{call}: no answer within {PATIENCE} s")


class FolderExchange:
    """The other side: a made-up exchange that looks into the folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for name in ("questions", "answers", "news"):
            (self.folder / name).mkdir()
        write(self.folder / "alive", 0)
        self.venue = ScriptedVenue()
        self.venue.now = 1_704_205_800_000_000  # microseconds since 1970, as all times
        self.venue.connect(self)
        self.lock = threading.Lock()
        self.is_cut = False
        self.news = itertools.count()
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def put(self, source, event):
        """What the exchange tells."""
        write(self.folder / "news" / f"{next(self.news):09}.news", event)

    def work(self):
        for beat in itertools.count():
            if self.closed.wait(LOOK):
                return
            if not self.is_cut:
                write(self.folder / "alive", beat)
                for path in sorted((self.folder / "questions").glob("*.ask")):
                    self.answer(path)

    def answer(self, path):
        call, content = read(path, tuple[str, msgspec.Raw])
        path.unlink()
        given = []
        if call in WORDS:
            given = [msgspec.msgpack.decode(content, type=WORDS[call])]
        with self.lock:
            try:
                found = getattr(self.venue, call)(*given)
            except ConnectionLost:
                return
        if not (isinstance(found, Answer) and found.is_taken is None):
            write(self.folder / "answers" / path.stem, found)


class FolderDriver:
    """What the exam does to the exchange."""

    asset_ids = ("A", "B")

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.exchange = FolderExchange(self.folder.name)
        self.exchange.venue.prices = {"A": 100.0, "B": 100.0}

    def make_gateway(self):
        return FolderGateway(self.folder.name)

    def fill(self, client_id, quantity, price):
        with self.exchange.lock:
            self.exchange.venue.now += 1
            self.exchange.venue.fill(client_id, quantity, price)

    def drop(self):
        self.exchange.is_cut = self.exchange.venue.is_mute = True

    def restore(self):
        self.exchange.is_cut = self.exchange.venue.is_mute = False

    def lose_answer(self, call, when):
        self.exchange.venue.faults[call] = [when]

    def close(self):
        self.exchange.closed.set()
        self.exchange.thread.join()
        self.folder.cleanup()


class FolderExam(GatewayContract):
    """In a test module of yours it would be called TestFolderGateway, and pytest would run it."""

    def make_venue(self):
        return FolderDriver()


if __name__ == "__main__":
    for name in vars(GatewayContract):
        if name.startswith("test_"):
            getattr(FolderExam(), name)()
            print("passed:", name.removeprefix("test_").replace("_", " "))
