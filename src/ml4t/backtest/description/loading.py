"""A strategy out of a user's file: found, loaded, and made with its parameters."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml4t.backtest.errors import BacktestError, ConfigError, StrategyError, did_you_mean
from ml4t.backtest.strategy.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

_MODULE = "ml4t_user_strategy_"
_PLAIN = (bool, int, float, str, type(None))


def load_strategy(
    file: str | Path, class_name: str | None = None, parameters: Mapping[str, Any] | None = None
) -> Strategy:
    """A strategy of a class that stands in a file.

    The file is run as `python file.py` would run it: modules beside it can be imported, and stay
    importable afterwards. A parameter is an argument of the class, or a plain attribute of it
    (such as `hurdle = 0.01` above its hooks), which is then set on the strategy.

    Args:
        file: A Python file.
        class_name: Of the strategy; may be left out when the file defines just one.
        parameters: By name.

    Raises:
        ConfigError: No such file or class, a file that cannot be imported, several classes, or a
            parameter that the class does not take.
        StrategyError: The file or the constructor raised.
    """
    path = Path(file).expanduser().absolute()
    kind = find_class(load_module(path), path, class_name)
    return _made(kind, dict(parameters or {}))


def load_module(path: Path) -> ModuleType:
    """Run a user's file as a module.

    Raises:
        ConfigError: It is not there, is no Python, or imports what is not installed.
        StrategyError: It raised anything else.
    """
    _check_file(path)
    name = _MODULE + "".join(c if c.isalnum() else "_" for c in path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module  # dataclasses and pickles of the user's look it up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        at = f"{error.filename or path.name}, line {error.lineno}"
        text = f"\n    {error.text.strip()}" if error.text else ""
        raise ConfigError(f"{at}: this is no valid Python: {error.msg}.{text}") from error
    except ImportError as error:
        raise ConfigError(
            f"{path.name} cannot be imported: {error}. Install what is missing into the "
            f"environment of this Python ({sys.executable}), or put a module of your own beside "
            "the file."
        ) from error
    except BacktestError:
        raise
    except Exception as error:
        raise StrategyError(
            f"{path.name} raised {type(error).__name__} when it was loaded: {error}"
        ) from error
    return module


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the Python file with your strategy.")
    if not path.exists():
        folder = path.parent
        near = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
        hint = did_you_mean(path.name, near) if near else f"There is no .py file in {folder}."
        raise ConfigError(f"There is no file {path}. {hint}")
    if path.suffix != ".py":
        raise ConfigError(f"{path.name} is no Python file: a strategy stands in a file NAME.py.")


def find_class(module: ModuleType, path: Path, class_name: str | None) -> type[Strategy]:
    """The class of the strategy in a module.

    Raises:
        ConfigError: None, several, or none of that name.
    """
    own = {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, type)
        and issubclass(thing, Strategy)
        and thing.__module__ == module.__name__
        and not name.startswith("_")
    }
    if class_name is not None:
        found = getattr(module, class_name, None)
        if found is None:
            raise ConfigError(
                f"{path.name} has no class {class_name!r}. {did_you_mean(class_name, own)}"
            )
        if not (isinstance(found, type) and issubclass(found, Strategy)):
            raise ConfigError(
                f"{class_name!r} in {path.name} is no strategy: derive the class from "
                f"ml4t.backtest.Strategy. {did_you_mean(class_name, own)}"
            )
        return found
    if not own:
        raise ConfigError(
            f"{path.name} defines no strategy: write a class that derives from "
            "ml4t.backtest.Strategy."
        )
    if len(own) > 1:
        raise ConfigError(
            f"{path.name} defines several strategies: {', '.join(own)}. Say which one, for "
            f"example {path.name}:{next(iter(own))}."
        )
    return next(iter(own.values()))


# What an annotation stands for, and what may be given for it.
_NUMBERS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,)}


def _made(kind: type[Strategy], parameters: dict[str, Any]) -> Strategy:
    arguments, attributes = _sorted_parameters(kind, parameters)
    try:
        strategy = kind(**arguments)
    except BacktestError:
        raise
    except Exception as error:
        raise StrategyError(
            f"{kind.__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())}) raised "
            f"{type(error).__name__}: {error}"
        ) from error
    for name, value in attributes.items():
        setattr(strategy, name, value)
    return strategy


def _sorted_parameters(
    kind: type[Strategy], given: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters for the constructor, and those that are attributes of the class."""
    taken = list(inspect.signature(kind).parameters.values())
    named = [p.name for p in taken if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in taken)
    plain = [
        name
        for owner in kind.__mro__
        if issubclass(owner, Strategy) and owner is not Strategy
        for name, value in vars(owner).items()
        if not name.startswith("_") and isinstance(value, _PLAIN)
    ]
    arguments = {n: v for n, v in given.items() if n in named or (takes_all and n not in plain)}
    attributes = {n: v for n, v in given.items() if n not in arguments}
    for name in attributes:
        if name not in plain:
            known = [*named, *plain]
            hint = did_you_mean(name, known) if known else "It takes none."
            raise ConfigError(f"{kind.__name__} has no parameter {name!r}. {hint}")
    missing = [p.name for p in taken if p.name in named and p.default is p.empty]
    missing = [name for name in missing if name not in given]
    if missing:
        raise ConfigError(
            f"{kind.__name__} needs {', '.join(map(repr, missing))}: give "
            f"{', '.join(f'strategy.{name}=...' for name in missing)} with --set, or in "
            "[strategy.parameters]."
        )
    for parameter in taken:
        if parameter.name in arguments:
            _check_type(kind, parameter, arguments[parameter.name])
    return arguments, attributes


def _check_type(kind: type[Strategy], parameter: inspect.Parameter, value: Any) -> None:
    """Refuse a word for a number where the strategy says that it takes numbers alone.

    Otherwise it would fail at some bar, as an error of the strategy. An annotation that is more
    than numbers is left to the strategy.
    """
    annotation = parameter.annotation
    named = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    wanted = {part.strip() for part in named.split("|")}
    if not wanted <= _NUMBERS.keys() | {"None"} or wanted == {"None"}:
        return
    allowed = {taken for name in wanted - {"None"} for taken in _NUMBERS[name]}
    if type(value) not in allowed:
        raise ConfigError(
            f"{kind.__name__} takes {parameter.name!r} as {named}, not as "
            f"{type(value).__name__}: {value!r}."
        )
