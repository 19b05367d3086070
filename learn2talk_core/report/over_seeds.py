"""Metrics over several seeds, from the scores of single clips: mean, interval over clips, spread over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from learn2talk_core.metrics.bootstrap import bootstrap_interval
from learn2talk_core.metrics.ratio import Ratio, add_ratios

ClipRow = Mapping[str, Any]  # `clip`, and for each metric its value (None: the clip has none) and `<key>_weight`
DIGITS = {"lrp": 1}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class OverSeeds(NamedTuple):
    """A metric of a row: over all seeds, its 95 % bootstrap interval over clips, and the values of single seeds."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Half the range over the seeds."""
        return (max(self.seeds) - min(self.seeds)) / 2


def pooled_seeds(runs: Sequence[Sequence[ClipRow]], key: str) -> OverSeeds | None:
    """A metric over the runs of one model, a run per seed, each with the scores of its clips; None if no clip has it.

    For the interval, clips are drawn with replacement, each with all of its seeds, which are not independent.
    """
    by_clip: dict[str, list[Ratio]] = {}
    seeds = []
    for run in runs:
        rows = [row for row in run if row.get(key) is not None]
        ratios = [Ratio(row[key] * row[f"{key}_weight"], row[f"{key}_weight"]) for row in rows]
        for row, ratio in zip(rows, ratios, strict=True):
            by_clip.setdefault(row["clip"], []).append(ratio)
        value = add_ratios(ratios).value if ratios else None
        if value is None:
            return None
        seeds.append(value)
    clips = [add_ratios(own) for own in by_clip.values()]
    interval, mean = bootstrap_interval(clips, seed=0), add_ratios(clips).value
    return None if interval is None or mean is None else OverSeeds(mean, *interval, tuple(seeds))


def seed_table(
    rows: Mapping[str, Mapping[str, OverSeeds | float | None]],
    keys: Sequence[str],
    protocol: Mapping[str, Mapping[str, Any]],
    *,
    differences: bool = False,
) -> str:
    """A Markdown table: `mean [low, high] ± spread`, without spread for one seed; the best mean of a column in bold.

    A column of small numbers is in units of a power of ten, such as LVE in 10⁻⁵ m². A column without values is left
    out.

    Args:
        rows: title of a row → key → value; a number alone, such as a published one, is never bold.
        keys: the columns.
        protocol: see `metrics/protocol.py`; name, unit and goal of each key.
        differences: the values are differences; in bold are those whose interval does not contain zero.
    """
    known = {key: [v for row in rows.values() if isinstance(v := row.get(key), OverSeeds)] for key in keys}
    keys = [key for key in keys if known[key]]
    powers = {key: _power(known[key]) for key in keys}
    best = {key: min(_badness(v.mean, protocol[key]["goal"]) for v in known[key]) for key in keys}
    heads = [_head(protocol[key], powers[key]) for key in keys]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(keys)]
    for title, row in rows.items():
        cells = []
        for key in keys:
            value = row.get(key)
            if not isinstance(value, OverSeeds):
                bold = False
            elif differences:
                bold = value.low > 0 or value.high < 0
            else:
                bold = _badness(value.mean, protocol[key]["goal"]) == best[key]
            text = _shown(value, DIGITS.get(key, 3), 10.0 ** -powers[key])
            cells.append(f"**{text}**" if bold else text)
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _power(values: Sequence[OverSeeds]) -> int:
    """The power of ten of a column: 0 unless all of its values are below .01."""
    largest = max(abs(value.mean) for value in values)
    return math.floor(math.log10(largest)) if 0 < largest < 0.01 else 0


def _badness(value: float, goal: str) -> float:
    """Smaller for better values."""
    return {"lower": value, "higher": -value, "zero": abs(value), "one": abs(value - 1)}[goal]


def _head(about: Mapping[str, Any], power: int) -> str:
    scale = f"10{str(power).translate(SUPERSCRIPTS)}" if power else ""
    return " ".join(filter(None, (about["name"], scale, about["unit"])))


def _shown(value: OverSeeds | float | None, digits: int, scale: float) -> str:
    if value is None:
        return "–"
    if not isinstance(value, OverSeeds):
        return f"{scale * value:.{digits}f}"
    mean, low, high, spread = (scale * x for x in (*value[:3], value.spread))
    over_seeds = f" ± {spread:.{digits}f}" if len(value.seeds) > 1 else ""
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]{over_seeds}"
