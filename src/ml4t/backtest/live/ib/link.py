"""The connection to TWS or the Gateway: one loop in a thread of its own, kept up.

Imported when a gateway connects: it needs ib_async. The vendor's client does not reconnect by
itself, and forgets everything when it is cut off; both are dealt with here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.ib import mapping
from ml4t.backtest.live.ib.telling import Silent, Telling
from ml4t.backtest.live.ib.vendor import IB, Client

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ml4t.backtest.live.ib.telling import Listener

T = TypeVar("T")

_LOG = logging.getLogger("ml4t.backtest.live")
_JOIN_SECONDS = 10.0
_SLACK = 2.0  # seconds beyond the sum of what a call may wait for
_CLASH = (
    "client_id={} is in use by another program at this TWS or Gateway: end that, or choose another "
    "client_id= (orders can be canceled by the client_id that sent them alone)"
)


class TwsLink:
    """A connection that comes back.

    Args:
        host: Of TWS or the Gateway.
        port: Likewise.
        client_id: Our number there.
        account: What to follow; the only one when None.
        answer_seconds: How long to wait for any one answer.
        heartbeat: Seconds of silence after which it is asked for the time.
        messages_a_second: How many messages may be sent.
        listener: Told every message; None for none.
        on_error: Told errors and notices.
        on_up: Called when the connection is there again.
        on_down: Called with a reason when it is lost.

    Attributes:
        ib: The vendor's client; used on the loop alone, as are the next two.
        client: Its half that sends.
        wrapper: Its half that receives.
        accounts: Those of the login.
        is_up: Whether messages get through to TWS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: int,
        *,
        account: str | None,
        answer_seconds: float,
        heartbeat: float,
        messages_a_second: float,
        listener: Listener | None,
        on_error: Callable[[int, int, str], None],
        on_up: Callable[[], None],
        on_down: Callable[[str], None],
    ) -> None:
        self.host, self.port, self.client_id = host, port, client_id
        self.account = account
        self.answer_seconds = answer_seconds
        self.heartbeat = heartbeat
        self.messages_a_second = messages_a_second
        self.listener = listener
        self.on_error, self.on_up, self.on_down = on_error, on_up, on_down
        self.accounts: list[str] = []
        self.is_up = False
        self.ib: IB
        self.client: Any
        self.wrapper: Any
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._clash = asyncio.Event()
        self._lost = asyncio.Event()
        self._timing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    # -- from other threads -------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and keep the connection up from then on.

        Raises:
            ConnectionLost: Nobody answers, or our number is in use.
        """
        self._thread = threading.Thread(target=self._run, name="ib", daemon=True)
        self._thread.start()
        try:
            self._started.result(self.answer_seconds * 8 + _SLACK)
        except concurrent.futures.TimeoutError:
            self.close()
            raise ConnectionLost(f"{self._where} did not answer.") from None
        except ConnectionLost:
            self.close()
            raise

    def call(self, function: Callable[[], Coroutine[Any, Any, T]], answers: int = 1) -> T:
        """Run something on the loop, and wait for it, for a bounded time.

        Args:
            function: Makes what is to be run.
            answers: How many answers it waits for, one after the other.

        Raises:
            ConnectionLost: The connection is not there, or no answer came.
        """
        loop = self._loop
        if loop is None or not self.is_up:
            raise ConnectionLost(f"{self._where} is not connected.")
        future = asyncio.run_coroutine_threadsafe(function(), loop)
        try:
            return future.result(self.answer_seconds * answers + _SLACK)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise ConnectionLost(f"{self._where} did not answer.") from None
        except concurrent.futures.CancelledError:
            raise ConnectionLost(f"{self._where} was closed.") from None
        except ConnectionError as error:
            raise ConnectionLost(f"{self._where}: {error}.") from error

    def close(self) -> None:
        """End the connection and the thread; twice is no mistake."""
        self._is_closing = True
        self._call(self._cancel)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_SECONDS)

    def drop(self) -> None:
        """Cut the connection; a new one is made."""
        self._call(self._lost.set)

    def _call(self, function: Callable[[], Any]) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(function)

    # -- on the loop --------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"Interactive Brokers at {self.host}:{self.port}"

    async def answer(self, work: Any) -> Any:
        """Wait for an answer.

        Raises:
            ConnectionLost: It does not come.
        """
        try:
            return await asyncio.wait_for(work, self.answer_seconds)
        except TimeoutError:
            self._lost.set()  # whoever does not answer may be gone without a word
            raise ConnectionLost(f"{self._where} did not answer.") from None

    async def now(self) -> Any:
        """The broker's time.

        Raises:
            ConnectionLost: No answer.
        """
        async with self._timing:  # the client knows one question of this kind at a time
            return await self.answer(self.ib.reqCurrentTimeAsync())

    def _run(self) -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(self._live())
        except Exception as error:  # noqa: BLE001  whatever the vendor's client raises
            self.is_up = False
            if not self._started.done():
                self._started.set_exception(ConnectionLost(f"{self._where}: {error}"))
            else:
                self.on_down(f"the client of Interactive Brokers ended: {error!r}")
        finally:
            self._loop = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _live(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._make_client()
        try:
            if self._is_closing:
                return
            await self._connect()
            self._started.set_result(None)
            while True:
                await self._watch()
                await self._come_back()
        except ConnectionLost as error:
            self._started.set_exception(error)
        finally:
            self.is_up = False
            self.ib.disconnect()
            await asyncio.sleep(0)  # the socket closes

    def _make_client(self) -> None:
        self.ib = ib = IB()
        wrapper = Telling(ib)
        wrapper.listener = self.listener or Silent()
        wrapper.on_error = self._errors
        client: Any = Client(wrapper)  # type: ignore[no-untyped-call]
        ib.wrapper, ib.client = wrapper, client
        client.MaxRequests = int(self.messages_a_second)
        client.apiEnd += self._ended
        client.apiEnd += ib.disconnectedEvent
        self.client, self.wrapper = client, wrapper

    def _ended(self) -> None:
        self._lost.set()

    def _errors(self, request: int, code: int, text: str) -> None:
        if code == mapping.ID_IN_USE:
            self._clash.set()
        self.on_error(request, code, text)

    async def _connect(self) -> None:
        """One attempt.

        Raises:
            ConnectionLost: It failed.
        """
        self._clash.clear()
        self._lost.clear()
        connecting = asyncio.ensure_future(
            self.ib.connectAsync(
                self.host,
                self.port,
                self.client_id,
                timeout=self.answer_seconds,
                account=self.account or "",
                raiseSyncErrors=True,
            )
        )
        clash = asyncio.ensure_future(self._clash.wait())
        await asyncio.wait({connecting, clash}, return_when=asyncio.FIRST_COMPLETED)
        clash.cancel()
        if not connecting.done():
            connecting.cancel()
            await asyncio.wait({connecting})
            raise ConnectionLost(f"{self._where}: {_CLASH.format(self.client_id)}.")
        error = connecting.exception()
        if error is not None:
            hint = "Is it running, and does its API take connections at this port?"
            text = str(error) or "no answer in time"
            raise ConnectionLost(f"{self._where} cannot be had: {text}. {hint}") from error
        self.accounts = list(self.ib.client.getAccounts())
        self.is_up = True

    async def _watch(self) -> None:
        """Until the connection is lost, or nobody answers any more."""
        while not self._lost.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), self.heartbeat)
                return
            try:
                await self.now()
            except (ConnectionLost, ConnectionError):
                return

    async def _come_back(self) -> None:
        """Connect again, for as long as it takes: a nightly restart lasts minutes."""
        self.is_up = False
        self.on_down("the connection broke")
        self.ib.disconnect()
        pause = 0.25
        while True:
            await asyncio.sleep(pause)
            pause = min(pause * 2.0, 30.0)
            try:
                await self._connect()
            except ConnectionLost as error:
                _LOG.info("%s", error)
                self.ib.disconnect()
                continue
            self.on_up()
            return
