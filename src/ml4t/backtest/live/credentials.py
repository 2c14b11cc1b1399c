"""Keys of an account: where they come from, and how they stay out of everything else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY, SECRET = "APCA_API_KEY_ID", "APCA_API_SECRET_KEY"
_HIDDEN = "[hidden]"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Credentials:
    """A key and its secret; shown nowhere.

    Args:
        key: Names the account.
        secret: Proves that one may use it.
    """

    __slots__ = ("_key", "_secret")

    def __init__(self, key: str, secret: str) -> None:
        self._key = key
        self._secret = secret

    def __repr__(self) -> str:
        return f"Credentials({_HIDDEN})"

    def __reduce__(self) -> Any:
        raise TypeError("Credentials are not written anywhere; read them anew where needed.")

    @property
    def key(self) -> str:
        """For the vendor's client alone."""
        return self._key

    @property
    def secret(self) -> str:
        """For the vendor's client alone."""
        return self._secret

    def hide(self, text: str) -> str:
        """A text of others, such as a server's reply, without the key and the secret."""
        return text.replace(self._secret, _HIDDEN).replace(self._key, _HIDDEN)


def read_credentials(
    api_key: str | None = None,
    secret_key: str | None = None,
    *,
    file: str | Path | None = None,
) -> Credentials:
    """The keys, each from the first place that has it: argument, file, environment.

    Args:
        api_key: The key itself.
        secret_key: The secret itself.
        file: Lines `APCA_API_KEY_ID=...` and `APCA_API_SECRET_KEY=...`; nobody but its owner may
            be able to read it. With a file the environment is not looked at.

    Raises:
        ConfigError: One of them is nowhere, or others can read the file.
    """
    given = {KEY: api_key, SECRET: secret_key}
    elsewhere: Mapping[str, str] = os.environ if file is None else _read(Path(file))
    found = {name: elsewhere.get(name) if v is None else v for name, v in given.items()}
    options = {KEY: "api_key", SECRET: "secret_key"}
    for name, value in found.items():
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{options[name]} is a {type(value).__name__}, not text.")
        if value is None or not value.strip():
            place = "the environment variable" if file is None else f"a line of {str(file)!r},"
            raise ConfigError(
                f"There is no {options[name]}. Pass {options[name]}=, or set {place} {name}."
            )
    return Credentials(str(found[KEY]).strip(), str(found[SECRET]).strip())


def from_environment(name: str) -> str | None:
    """An environment variable; None when it is not set. Nothing else of the library reads one."""
    return os.environ.get(name)


def _read(path: Path) -> dict[str, str]:
    """The names and values of a file that its owner alone can read."""
    try:
        with path.open(encoding="utf-8") as file:
            _refuse_readable(path, os.fstat(file.fileno()))
            lines = file.read().splitlines()
    except OSError as error:
        raise ConfigError(
            f"The file of credentials {str(path)!r} cannot be read: {error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"The file of credentials {str(path)!r} is no text in UTF-8.") from None
    return dict(_entry(path, i, line) for i, line in enumerate(lines, 1) if _is_entry(line))


def _refuse_readable(path: Path, found: os.stat_result) -> None:
    if os.name == "posix" and found.st_mode & _OTHERS:
        raise ConfigError(
            f"Others can read or change the file of credentials {str(path)!r} (mode "
            f"{stat.S_IMODE(found.st_mode):o}). Run: chmod 600 {path}"
        )


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _entry(path: Path, number: int, line: str) -> tuple[str, str]:
    """One line; its content is not told, for it may be the secret."""
    name, is_pair, value = line.partition("=")
    name = name.strip().removeprefix("export ").strip()
    if not is_pair:
        raise ConfigError(f"Line {number} of {str(path)!r} is not NAME=value.")
    if name not in (KEY, SECRET):
        near = did_you_mean(name, (KEY, SECRET)) if name.startswith("APCA") else ""
        raise ConfigError(
            f"Line {number} of {str(path)!r} sets something else than {KEY} or {SECRET}. {near}"
        )
    return name, value.strip().strip("'\"")
