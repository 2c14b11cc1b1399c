"""A result on one page, and on one line."""

from __future__ import annotations

import datetime as dt
import math
import re
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ml4t.backtest.results.result import BacktestResult

WIDTH = 88
_LABEL = 18
_NONE = "NONE"
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
FREE = {
    "commission": f"{_NONE}: trading is assumed to be free of charge",
    "slippage": f"{_NONE}: fills are assumed to get the reference price",
}
_LENT = {
    "rates": f"{_NONE}: money owed is assumed to be free of charge",
    "borrow": f"{_NONE}: shares sold short are assumed to be lent for free",
}
_LENT_NAMES = {"rates": "interest", "borrow": "borrow fee"}
_CENT = 0.01
_FILL_AT = {
    "next_open": "at the open of the asset's next bar",
    "next_middle": "halfway between high and low of the asset's next bar",
    "next_close": "at the close of the asset's next bar",
    "close": "AT THE SAME CLOSE THE DECISION WAS MADE ON; assumes one can trade there",
}
# A number, date or time that stands alone: neither part of a word nor inside quotes.
_NUMBER = re.compile(r"""(?<![\w'"])[-+]?\d(?:[\d.,:/eT+-]*\d)?(?![\w'"])""")
BEFORE = "before the first bar"
OPEN_STATES = ("pending", "accepted", "partially_filled")


# -- numbers -----------------------------------------------------------------------------------


def money(value: float) -> str:
    """Money with separators; cents only where they say something."""
    return amounts(value)[0]


def amounts(*values: float) -> list[str]:
    """Amounts of money that stand together: with cents all of them, or none."""
    digits = 2 if any(abs(v) < 10_000 for v in values if v) or not any(values) else 0  # noqa: PLR2004
    return [_unsigned_zero(f"{v:,.{digits}f}") if math.isfinite(v) else "n/a" for v in values]


def _unsigned_zero(shown: str) -> str:
    """A number that was rounded to nothing has no sign."""
    return shown if shown.strip("+-0.%") else shown.lstrip("+-")


def percent(value: float, *, sign: bool = False) -> str:
    """A fraction as percent."""
    if not math.isfinite(value):
        return "n/a"
    return _unsigned_zero(f"{100.0 * value:{'+' if sign else ''},.2f}%")


def ratio(value: float) -> str:
    """A ratio with two digits."""
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return "n/a" if math.isnan(value) else _unsigned_zero(f"{value:,.2f}")


def count(n: float, noun: str, plural: str | None = None) -> str:
    """A number of things: "1 order", "1,204 orders"."""
    return f"{n:,.0f} {noun if n == 1 else plural or noun + 's'}"


def value_text(value: Any) -> str:
    """A value of unknown kind (a signal, a parameter) as a reader wants it."""
    if isinstance(value, float):
        return f"{value + 0.0:,.6g}"  # zero without a minus
    return str(value)


def age_text(age: dt.timedelta) -> str:
    """A length of time in the largest unit that it fills: "3 days", "1.5 hours"."""
    for unit, seconds in _UNITS:
        n = age.total_seconds() / seconds
        if n >= 1.0:
            return f"{n:,.3g} {unit}{'' if n == 1.0 else 's'}"
    return "less than a second"


def part_text(value: Any) -> str:
    """A part of the broker from the settings: "PercentCommission(rate=0.001)", or loudly none."""
    if isinstance(value, dict):
        named = dict(value)
        kind = next(
            (str(named.pop(k)) for k in ("class", "type", "name", "kind") if k in named), ""
        )
        named = {**named.pop("parameters", {}), **named}
        inside = ", ".join(f"{k}={value_text(v)}" for k, v in named.items())
        value = f"{kind}({inside})" if inside else kind
    text = str(value).removesuffix("()") if value is not None else ""
    return _NONE if text.lower() in ("", "none", "nocommission", "noslippage") else text


# -- what the record says of the data -----------------------------------------------------------


def _feeds(result: BacktestResult) -> list[dict[str, Any]]:
    return list(result.record.source.get("feeds") or ())


def close_only(result: BacktestResult, asset_id: str | None = None) -> tuple[int, int]:
    """How many of how many feeds bring one price a bar; all feeds, or those of one asset."""
    feeds = _feeds(result)
    own = [feed for feed in feeds if feed.get("name") == f"feeds[{asset_id!r}]"]
    among = own or feeds
    return sum(map(_has_one_price, among)), len(among)


def _has_one_price(feed: dict[str, Any]) -> bool:
    """By the feed's option, or because one column was named for all four prices."""
    prices = (feed.get("columns") or {}).get("prices") or {}
    return feed.get("price_column") is not None or len(set(prices.values())) == 1 < len(prices)


# -- one line ----------------------------------------------------------------------------------


def line(result: BacktestResult) -> str:
    """The result on one line."""
    figures = (
        f"final equity {money(result.final_equity)}",
        f"return {percent(result.total_return, sign=True)}",
        f"Sharpe {ratio(result.sharpe)}",
        f"max drawdown {percent(result.max_drawdown)}",
        count(len(result.record.fills), "fill"),
    )
    ended = "" if result.complete else "INCOMPLETE, "
    ended += "BANKRUPT, " if result.record.counts.get("bankruptcies") else ""
    return f"<BacktestResult {strategy(result)}, {span(result)}: {ended}{', '.join(figures)}>"


def strategy(result: BacktestResult) -> str:
    """The name of the strategy."""
    given = result.settings.get("strategy")
    if isinstance(given, dict):
        return str(given.get("class", "strategy"))
    return str(given or "strategy")


def parameters(result: BacktestResult) -> str:
    """The parameters of the strategy, and their values."""
    made = result.settings.get("strategy")
    given = made.get("parameters") if isinstance(made, dict) else None
    return ", ".join(f"{k}={value_text(v)}" for k, v in given.items()) if given else ""


def span(result: BacktestResult) -> str:
    """From when to when."""
    sessions = result.record.equity["session"]
    return f"{sessions[0]} to {sessions[-1]}" if len(sessions) else "no bars"


# -- one page ----------------------------------------------------------------------------------


def text(result: BacktestResult) -> str:
    """The page that `BacktestResult.summary` returns; no line is longer than 88 columns."""
    lines = [
        *_title(result),
        *_section("How far to trust it", trust(result)),
        *_section("Performance", _performance(result)),
        *_section("Costs and activity", _activity(result)),
        *_section("Trades", _trades(result)),
        "",
        f"fingerprint {result.fingerprint[:16]}",
    ]
    return "\n".join(lines)


def _title(result: BacktestResult) -> Iterator[str]:
    equity = result.record.equity
    title = f"{strategy(result)}: {span(result)}"
    yield title
    yield "=" * min(len(title), WIDTH)
    known = len(result.record.asset_ids) or result.orders["asset_id"].n_unique()
    size = [count(len(result.returns), "session"), count(known, "asset")]
    if len(equity) != len(result.returns):
        size.insert(1, count(len(equity), "timestamp"))
    yield ", ".join(size)
    if given := parameters(result):
        yield from textwrap.wrap(f"with {given}", WIDTH)
    if not result.complete:
        yield ""
        yield "INCOMPLETE: the run ended in an error; this is what had happened until then."
    if result.record.counts.get("bankruptcies"):
        yield ""
        when = equity["timestamp"][-1]
        yield f"BANKRUPT: on {when} nothing was left; the run ended there."


def _section(title: str, rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield ""
    yield title
    for label, value in rows:
        yield from textwrap.wrap(
            value,
            WIDTH,
            initial_indent=f"  {label:<{_LABEL}}",
            subsequent_indent=" " * (_LABEL + 2),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [f"  {label}"]


def trust(result: BacktestResult) -> Iterator[tuple[str, str]]:
    """What a careful reader asks first: labels and sentences.

    A label that is empty goes on with the one before; one that is indented belongs to it.
    """
    settings = result.settings
    if (few := close_only(result))[0]:
        yield "prices", _close_only(*few)
    if settings.get("profile"):
        yield "rules", f"of {settings['profile']}"
    for part, free in FREE.items():
        assumed = part_text(settings[part]) if part in settings else "not stated by the broker"
        yield part, free if assumed == _NONE else assumed
    if settings.get("account") is not None:
        yield "account", part_text(settings["account"])
    yield from _financing_rows(result)
    yield from _account_rows(result.record.counts, result.orders)
    if settings.get("limits"):
        yield "limits", _limits(result)
    yield "market orders", _fill_at(result)
    if chosen := _chosen(settings):
        yield "chosen", chosen
    yield from _order_rows(result)
    ambiguous = result.record.counts.get("ambiguous_bars", 0)
    yield "ambiguous bars", _ambiguous(ambiguous, settings)
    if "bars_without_finer" in result.record.counts:
        yield "inside bars", _finer(result.record.counts)
    yield "stale holdings", _stale(result)
    yield from _action_rows(result)
    yield from _signal_rows(result)
    if left_out := _left_out(result):
        yield "columns left out", f"{some(left_out, 8)}; the strategy did not see them"
    per_year = f"{result.periods_per_year:g} ({result.periods_origin})"
    yield "periods per year", per_year
    if result.tried is not None:
        yield "trials", _trials(*result.tried)


def _trials(family: str, n: int) -> str:
    """Whoever shows the best of many has to say of how many."""
    known = f"{count(n, 'configuration')} of {family} in its store"
    return known if n == 1 else f"{known}; the best of several flatters"


# Assumptions that most runs leave as they are, and what they are then.
_USUAL = {
    "liquidity": "UnlimitedLiquidity()",
    "intrabar": "worst",
    "limit_fill": "touch",
    "funding": "scale",
    "fractional": False,
    "close_at_end": False,
}


def _chosen(settings: dict[str, Any]) -> str:
    """Assumptions that are not the usual ones."""
    return ", ".join(
        f"{name}={part_text(settings[name])}"
        for name, usual in _USUAL.items()
        if settings.get(name, usual) != usual
    )


def _financing_rows(result: BacktestResult) -> Iterator[tuple[str, str]]:
    """What money and shares cost that were borrowed; free ones are said as loudly."""
    settings = result.settings
    for part, free in _LENT.items():
        if part not in settings:
            continue
        if settings[part] is not None:
            yield _LENT_NAMES[part], part_text(settings[part])
        elif _has_borrowed(result, part):
            yield _LENT_NAMES[part], free


def _has_borrowed(result: BacktestResult, part: str) -> bool:
    if part == "rates":
        return bool((result.equity["cash"] < -_CENT).any())
    return bool((result.record.fills["position"] < 0.0).any())


def _account_rows(counts: Mapping[str, int], orders: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """What a broker did, or would have minded."""
    if "margin_calls" in counts:
        calls, forced = counts["margin_calls"], int((orders["tag"] == "margin call").sum())
        forced_orders = count(forced, "order")
        said = f"{count(calls, 'close')} below the maintenance margin; {forced_orders} forced"
        yield "margin calls", said if calls else "none"
    if "good_faith_violations" in counts:
        times = counts["good_faith_violations"]
        sold = "sold before the money that had paid for it was settled"
        yield "good faith", f"{count(times, 'violation')}: {sold}" if times else "no violation"


def _limits(result: BacktestResult) -> str:
    """The limits that were set, and whether a loss stopped the strategy."""
    limits = result.settings["limits"].items()
    said = ", ".join(f"{k} {some(v) if isinstance(v, list) else value_text(v)}" for k, v in limits)
    halts = result.record.counts.get("limit_halts", 0)
    if halts:
        lines = result.logs.filter(pl.col("message").str.starts_with("limit: halted"))
        said += f"; HALTED {count(halts, 'time')}, first at {lines['timestamp'][0]}"
    return said


def _close_only(few: int, feeds: int) -> str:
    where = "" if few == feeds else f" in {few} of {feeds} feeds"
    return (
        f"CLOSE-ONLY{where}: bars open, trade and close at one price, and what happened between "
        "two closes is unknown; limits and stops are tried at closes"
    )


def _left_out(result: BacktestResult) -> list[str]:
    shown: dict[str, None] = {}
    for feed in _feeds(result):
        columns = feed.get("columns_left_out") or ()
        pairs = (
            columns.items()
            if isinstance(columns, dict)
            else [
                (c["name"], c.get("dtype")) if isinstance(c, dict) else (c, None) for c in columns
            ]
        )
        shown.update({f"{name} ({kind})" if kind else str(name): None for name, kind in pairs})
    return list(shown)


def _fill_at(result: BacktestResult) -> str:
    fill_at = str(result.settings.get("fill_at", "next_open"))
    few, feeds = close_only(result)
    if few == feeds > 0 and fill_at == "next_open":
        fill_at = "next_close"  # the only price that the next bar has
    said = f"fill {_FILL_AT.get(fill_at, fill_at)}"
    if 0 < few < feeds and fill_at == "next_open":
        said += ", at its close where prices are close-only"
    fills = result.record.counts.get("same_close_fills", 0)
    return f"{said} ({count(fills, 'fill')})" if fills else said


def _ambiguous(ambiguous: int, settings: Mapping[str, Any]) -> str:
    if not ambiguous:
        return "none"
    taken = settings.get("intrabar", "worst")
    return (
        f"{count(ambiguous, 'bar')} could have filled two resting orders in either sequence; "
        f"the {taken} one was taken"
    )


def _finer(counts: Mapping[str, int]) -> str:
    missing, unlike = counts["bars_without_finer"], counts.get("bars_unlike_finer", 0)
    told = "resting orders traded by the finer feed"
    if missing:
        told += f"; by assumption in {count(missing, 'bar')} without finer ones"
    if unlike:
        told += f"; {count(unlike, 'bar')} far from the prices of their finer bars"
    return told


def _stale(result: BacktestResult) -> str:
    stale = result.stale
    if stale.is_empty():
        return "none"
    after = result.settings.get("stale_after")
    long = f"{count(after, 'session')} or more" if isinstance(after, int) else "long"
    share = stale["share_of_equity"].abs().max()
    return (
        f"{count(stale['asset_id'].n_unique(), 'asset')} held without a bar for {long}: "
        f"{some(stale['asset_id'].unique(maintain_order=True).to_list())}; "
        f"at most {percent(float(share))} of equity each"  # type: ignore[arg-type]
    )


def _action_rows(result: BacktestResult) -> Iterator[tuple[str, str]]:
    if "actions_applied" in result.record.counts:
        yield "corporate actions", _actions(result.record.counts)
    if jumps := result.record.source.get("split_like_jumps"):
        yield "jumps", _jumps(jumps)


def _actions(counts: Mapping[str, int]) -> str:
    ignored = counts["actions_ignored"]
    outside = f", {ignored:,} outside of the run" if ignored else ""
    doubtful = counts.get("splits_unlike_prices", 0)
    doubt = (
        f"; at {count(doubtful, 'split')} THE PRICE DID NOT MOVE WITH THE RATIO: are the prices "
        "adjusted already, or the ratios upside down?"
        if doubtful
        else ""
    )
    return f"{counts['actions_applied']:,} took effect{outside}{doubt}"


def _jumps(found: list[tuple[int, str, float]]) -> str:
    """Prices that are not adjusted, and no action says so: the profit is not one."""
    time, asset_id, ratio = found[0]
    day = dt.datetime.fromtimestamp(time / 1e6, tz=dt.UTC).date()
    terms = f"{ratio:g} new for 1 old" if ratio > 1.0 else f"1 new for {1.0 / ratio:g} old"
    more = f" and {count(len(found) - 1, 'more')}".replace("mores", "more") if found[1:] else ""
    return (
        f"WHILE HELD, {asset_id} at {day} moved like a split ({terms}){more}, which nobody "
        "announced: pass the splits as actions, or use adjusted prices"
    )


def some(names: list[str], most: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _order_rows(result: BacktestResult) -> Iterator[tuple[str, str]]:
    orders = result.orders
    status = pl.col("status")
    clipped = (status == "canceled") & pl.col("reason").str.starts_with("scaled").fill_null(
        value=False
    )
    groups = {
        "filled": status == "filled",
        "rejected": status == "rejected",
        "clipped": clipped,
        "expired": status == "expired",
        "canceled": (status == "canceled") & ~clipped,
        "left open": status.is_in(OPEN_STATES),
    }
    found = {name: orders.filter(which) for name, which in groups.items()}
    counts = [f"{len(frame):,} {name}" for name, frame in found.items() if len(frame)]
    placed = f"{len(orders):,} placed" + (": " + ", ".join(counts) if counts else "")
    early = orders["created_at"].null_count()
    yield "orders", placed + (f"; {early:,} of them {BEFORE}" if early else "")
    for name in ("rejected", "clipped", "expired", "canceled"):
        if len(found[name]):
            yield f"  {name}", _reasons(found[name]) + _clipping(name, found[name])
    if len(found["left open"]):
        assets = found["left open"]["asset_id"].unique(maintain_order=True).to_list()
        yield "  left open", f"at the end of the run: {some(assets)}"


def _clipping(name: str, orders: pl.DataFrame) -> str:
    if name != "clipped":
        return ""
    done = (orders["filled_quantity"] / orders["quantity"]).to_numpy().mean()
    return f"; {percent(float(done))} of an order was filled on average"


def _reasons(orders: pl.DataFrame, most: int = 4) -> str:
    """Reasons with their counts; those that differ in numbers alone are one."""
    counts: Counter[str] = Counter()
    texts: dict[str, set[str]] = {}
    for reason, n in orders.group_by(pl.col("reason").fill_null("")).len().iter_rows():
        kind = _NUMBER.sub("\N{HORIZONTAL ELLIPSIS}", reason)
        counts[kind] += n
        texts.setdefault(kind, set()).add(reason)
    shown = [
        f"{n:,} \N{MULTIPLICATION SIGN} "
        + ((kind if len(texts[kind]) > 1 else next(iter(texts[kind]))) or "no reason given")
        for kind, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    more = len(shown) - most
    return "; ".join(shown[:most]) + (f"; and {count(more, 'other reason')}" if more > 0 else "")


def _signal_rows(result: BacktestResult) -> Iterator[tuple[str, str]]:
    coverage = result.signal_coverage
    if coverage.is_empty():
        yield "signals taken", "none"
        return
    for i, row in enumerate(coverage.iter_rows(named=True)):
        yield "signals taken" if i == 0 else "", _coverage(row)


def _coverage(row: Mapping[str, Any]) -> str:
    said = str(row.get("signal", ""))
    bars, present = row.get("bars", 0), row.get("bars_with_value", 0)
    if not present:
        said += " on no bar"
    elif bars == present:
        said += " on every bar"
    else:
        said += f" on {percent(present / bars)} of bars, missing on {bars - present:,}"
    if row.get("expired"):
        said += f", expired on {row['expired']:,}"
    oldest = row.get("max_age")
    if oldest:
        said += f", up to {age_text(oldest)} old"
    return said


def _performance(result: BacktestResult) -> Iterator[tuple[str, str]]:
    m = result.metrics
    currency = result.settings.get("currency", "")
    start, end = amounts(result.initial_cash, result.final_equity)
    yield "equity", f"{start} to {end} {currency}".rstrip()
    growth, per_year = percent(m["total_return"], sign=True), percent(m["cagr"], sign=True)
    yield "total return", f"{growth}, {per_year} a year"
    yield "volatility", f"{percent(m['volatility'])} a year"
    yield "Sharpe", _row(ratio(m["sharpe"]), Sortino=ratio(m["sortino"]), Calmar=ratio(m["calmar"]))
    yield "max drawdown", _drawdown(m)
    best, worst = percent(m["best_session"], sign=True), percent(m["worst_session"], sign=True)
    yield "sessions", f"{percent(m['positive_sessions'])} positive, best {best}, worst {worst}"


def _row(first: str, **others: str) -> str:
    """Several short figures on one line."""
    return ", ".join([first, *(f"{name.replace('_', ' ')} {v}" for name, v in others.items())])


def _drawdown(m: Mapping[str, float]) -> str:
    deep = percent(m["max_drawdown"])
    if m["max_drawdown"] >= 0.0:
        return deep
    back = m["recovery_sessions"]
    recovery = "not recovered" if math.isnan(back) else f"recovered after {count(back, 'session')}"
    return f"{deep}, {recovery}; longest {count(m['drawdown_sessions'], 'session')}"


def _activity(result: BacktestResult) -> Iterator[tuple[str, str]]:
    m = result.metrics
    share = percent(m["costs"] / result.initial_cash)
    costs, commission, slippage = amounts(m["costs"], m["commission"], m["slippage"])
    yield "costs", f"{costs}, {share} of initial cash"
    yield "", f"commission {commission}, slippage {slippage}"
    if m["financing"]:
        yield "financing", money(m["financing"])
    yield "turnover", f"{ratio(m['turnover'])} a year, one way"
    exposed, busy = percent(m["exposure"]), percent(m["time_in_market"])
    yield "exposure", f"{exposed} of equity on average, in the market {busy} of the time"


def _trades(result: BacktestResult) -> Iterator[tuple[str, str]]:
    m = result.metrics
    yield "closed", f"{m['trades']:,.0f}"
    if m["open_trades"]:
        yield "still open", f"{m['open_trades']:,.0f}, valued at the last close"
    if not m["trades"]:
        return
    yield "hit rate", _row(percent(m["hit_rate"]), profit_factor=ratio(m["profit_factor"]))
    mean, win, loss = amounts(m["expectancy"], m["average_win"], m["average_loss"])
    yield "average P&L", _row(mean, win=win, loss=loss)
    yield "held", f"{m['average_bars_held']:,.1f} bars on average"
