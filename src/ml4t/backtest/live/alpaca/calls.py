"""Calls to Alpaca that end, and mean one of two things: an answer, or none.

Imported when a broker is made: it needs alpaca-py.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import RequestException, Timeout

from ml4t.backtest.errors import ConnectionLost
from ml4t.backtest.live.alpaca.mapping import reply_words
from ml4t.backtest.live.alpaca.rest import bound_requests

with warnings.catch_warnings():
    # The client uses the older half of websockets, and the newer half says so.
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.common.exceptions import APIError
    from alpaca.trading.client import TradingClient

if TYPE_CHECKING:
    from requests import Response

    from ml4t.backtest.live.alpaca.pace import Pace
    from ml4t.backtest.live.credentials import Credentials

_UNAUTHORIZED = 401
# Statuses with which Alpaca itself says no. Any other one, and any reply that is not in its
# words, may come from something in between that does not know what became of the request.
_REFUSALS = (400, 403, 404, 409, 422)
MISSING = 404
_BROKEN = 500


class KeysRefused(ConnectionLost):
    """Trying again is in vain."""


class BrokenWay(ConnectionLost):
    """Something on the way answered, or hung up, at once: not Alpaca."""


class Reply(NamedTuple):
    """What Alpaca answered.

    Attributes:
        status: Of HTTP.
        content: What it said; of a refusal nothing.
        words: Why it refused, empty when it did not.
    """

    status: int
    content: Any
    words: str = ""

    @property
    def is_refusal(self) -> bool:
        """Whether it said no."""
        return bool(self.words)

    @property
    def is_missing(self) -> bool:
        """Whether there is no such thing."""
        return self.status == MISSING


class Calls:
    """The vendor's client of orders, made to answer in a bounded time.

    Args:
        credentials: Of the account.
        paper: Whether it is a paper account.
        url: Another address than Alpaca's.
        seconds: How long to wait for a connection, and again for the reply.
        pace: Counts them.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        paper: bool,
        url: str | None,
        seconds: float,
        pace: Pace,
    ) -> None:
        self._credentials = credentials
        self._pace = pace
        self._client = TradingClient(
            credentials.key, credentials.secret, paper=paper, url_override=url
        )
        bound_requests(self._client, connect_seconds=seconds, read_seconds=seconds)
        # By itself the client would repeat what was refused for its rate or lost by a proxy, an
        # order too, three seconds apart and three times. Here it is looked up first.
        self._client._retry = 0  # noqa: SLF001  its constructor has no word for it
        self._client._session.hooks["response"].append(self._read)  # noqa: SLF001  likewise

    def get(self, path: str, **query: Any) -> Reply:
        """Ask for something; once more when the way there is broken, for that changes nothing."""
        try:
            return self._call("GET", path, query)
        except BrokenWay:
            return self._call("GET", path, query)

    def post(self, path: str, body: dict[str, Any]) -> Reply:
        """Send something new."""
        return self._call("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> Reply:
        """Change something."""
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> Reply:
        """End something."""
        return self._call("DELETE", path, {})

    def close(self) -> None:
        """Let go of connections."""
        self._client._session.close()  # noqa: SLF001  it has no other way in

    def _call(self, method: str, path: str, data: dict[str, Any]) -> Reply:
        """Make one request.

        Raises:
            ConnectionLost: Nobody knows what became of it.
        """
        self._pace.spend()
        what = f"{method} {path.split('?', maxsplit=1)[0]}"
        try:
            content = self._client._request(method, path, data)  # noqa: SLF001  as its own calls do
        except APIError as error:
            return self._refused(what, error)
        except (RequestException, ValueError) as error:  # ValueError: the reply is no JSON
            words = self._credentials.hide(f"{type(error).__name__}: {error}")
            is_broken = isinstance(error, RequestsConnectionError) and not isinstance(
                error, Timeout
            )
            lost = BrokenWay if is_broken else ConnectionLost
            raise lost(f"Alpaca did not answer {what} ({words}).") from None
        return Reply(200, content)

    def _refused(self, what: str, error: APIError) -> Reply:
        status, text = int(error.status_code or 0), str(error)
        words = self._credentials.hide(reply_words(text))
        if status == _UNAUTHORIZED:
            raise KeysRefused(
                f"Alpaca refused the key and the secret ({words}). Check them, and that they are "
                "of the account meant: those of a paper account begin with PK."
            ) from None
        if status not in _REFUSALS or not text.lstrip().startswith("{"):
            lost = BrokenWay if status >= _BROKEN else ConnectionLost
            raise lost(f"Alpaca did not answer {what} ({status}: {words}).") from None
        return Reply(status, None, words or f"refused with {status}")

    def _read(self, response: Response, *_: Any, **__: Any) -> None:
        self._pace.read(response.status_code, response.headers)
