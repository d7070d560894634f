"""Draws a bucket of synthetic traffic for many runs at once: how many pairs, and the log sums of every test.

Requests come as a Poisson stream. Each is of one *cell* (a combination of slices, with its share of the traffic) and
of one kind. With sessions, whole sessions come instead: some are all alike, in the others each pair is drawn by
itself, so that the correlation within sessions is the part that is alike, for every number at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shadowlane.rollout.simulation.engine import Flags, Floats, Ints, Layout
from shadowlane.rollout.simulation.kinds import Mix, Values


@dataclass(frozen=True, slots=True)
class Cell:
    """Traffic that is in all of ``slices`` (``attribute=value``), ``share`` of the whole."""

    slices: tuple[str, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions of ``length`` pairs, ``alike`` of them all the same kind.

    ``units``: a session is a unit of the tests; else each of its pairs is.
    """

    length: int
    alike: float
    units: bool = True


@dataclass(frozen=True)
class Drawn:
    """One bucket of each run: ``pairs`` and ``units`` by (run, slice), ``sums`` by (run, slice, bet).

    ``parts`` is what the sums are of: see `units_of`.
    """

    pairs: Ints
    units: Ints
    sums: Floats
    parts: tuple["_Part | _Spans", ...]
    slices: tuple[tuple[str, ...], ...]

    def units_of(self, run: int) -> Iterator[tuple[tuple[str, ...], int, Values]]:
        """The units in one run's bucket: the slices that they are in, how many there are, and their values."""
        for part in self.parts:
            for cell, count, values in part.units_of(run):
                yield self.slices[cell], count, values


@dataclass(frozen=True)
class _Part:
    """Counts by (run, cell, kind) of the runs and cells that one mix made; extras: by (run, cell, value)."""

    runs: Ints
    cells: Ints
    mix: Mix
    counts: Ints
    extras: dict[str, Ints]

    def units_of(self, run: int) -> Iterator[tuple[int, int, Values]]:
        for row in np.flatnonzero(self.runs == run):
            for column, cell in enumerate(self.cells):
                for kind, count in zip(self.mix.kinds, self.counts[row, column], strict=True):
                    if count:
                        yield int(cell), int(count), kind.values
                for name, counts in self.extras.items():
                    for (_, value), count in zip(self.mix.extras[name], counts[row, column], strict=True):
                        if count and not np.isnan(value):
                            yield int(cell), int(count), {name: value}


@dataclass(frozen=True)
class _Spans:
    """Units one by one: ``row`` and ``cell`` of each, and its ``values``, a column for each of ``observables``."""

    runs: Ints
    cells: Ints
    row: Ints
    cell: Ints
    values: Floats
    observables: Sequence[str]

    def units_of(self, run: int) -> Iterator[tuple[int, int, Values]]:
        for number in np.flatnonzero(self.runs[self.row] == run):
            seen = zip(self.observables, self.values[number], strict=True)
            yield int(self.cells[self.cell[number]]), 1, {o: float(x) for o, x in seen if not np.isnan(x)}


class Traffic:
    """``per_bucket`` pairs a bucket on average, of ``plain`` mix, and of ``changed`` in the cells that an effect hits.

    ``changed`` None: nothing changes. ``hit`` are the numbers of those cells.
    """

    def __init__(
        self,
        layout: Layout,
        per_bucket: float,
        plain: Mix,
        changed: Mix | None = None,
        *,
        cells: Sequence[Cell] = (Cell((), 1.0),),
        hit: Sequence[int] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._layout, self.per_bucket = layout, per_bucket
        self.cells = tuple(cells)
        self.slices = ("", *sorted({name for cell in cells for name in cell.slices}))
        self._shares = np.array([cell.share for cell in cells])
        self._member = np.array(
            [[1.0 if not s or s in c.slices else 0.0 for c in cells] for s in self.slices]
        )
        self._mixes = [_Table(layout, mix) for mix in (plain, changed or plain)]
        everywhere = np.arange(len(cells))
        self._hit = everywhere if hit is None else np.array(hit, dtype=np.int64)
        self._missed = np.setdiff1d(everywhere, self._hit)
        self.sessions = sessions

    def draw(self, rng: np.random.Generator, changed: Flags, rate: float = 1.0) -> Drawn:
        """One bucket for each run. ``changed`` says in which runs the effect is there; ``rate`` scales the traffic."""
        runs, bets = len(changed), len(self._layout.bets)
        pairs = np.zeros((runs, len(self.cells)), dtype=np.int64)
        units = np.zeros_like(pairs)
        sums = np.zeros((runs, len(self.cells), bets))
        parts: list[_Part | _Spans] = []
        for rows, cells, table in self._groups(changed):
            lam = self.per_bucket * rate * self._shares[cells]
            at = np.ix_(rows, cells)
            if self.sessions is None:
                part, sums[at] = _pairs(rng, table, rows, cells, lam)
                parts.append(part)
                pairs[at] = units[at] = part.counts.sum(axis=2)
            else:
                number = rng.poisson(lam / self.sessions.length, (len(rows), len(cells)))
                pairs[at] = units[at] = number * self.sessions.length
                if self.sessions.units:
                    units[at] = number
                values = _values(rng, table, int(number.sum()), self.sessions)
                spans, sums[at] = _summed(self._layout, table.observables, values, number, rows, cells)
                parts.append(spans)
        member = self._member
        slices = tuple(cell.slices for cell in self.cells)
        if len(self.slices) == 1:
            return Drawn(pairs, units, sums, tuple(parts), slices)
        to_slices = member.T.astype(np.int64)
        return Drawn(pairs @ to_slices, units @ to_slices, np.matmul(member, sums), tuple(parts), slices)

    def _groups(self, changed: Flags) -> Iterator[tuple[Ints, Ints, "_Table"]]:
        """Runs, cells, and the mix that they have now."""
        plain, after = self._mixes
        everywhere = np.arange(len(self.cells))
        for rows, groups in (
            (np.flatnonzero(~changed), ((everywhere, plain),)),
            (np.flatnonzero(changed), ((self._missed, plain), (self._hit, after))),
        ):
            for cells, table in groups:
                if len(rows) and len(cells):
                    yield rows, cells, table


class _Table:
    """A mix as arrays: of each kind its probability, its log sums, its values."""

    def __init__(self, layout: Layout, mix: Mix) -> None:
        self.mix = mix
        self.observables = [h.observable.name for h in layout.hypotheses]
        self.p = np.array([kind.probability for kind in mix.kinds])
        if abs(self.p.sum() - 1) > 1e-9:
            raise ValueError(f"the kinds' probabilities sum to {self.p.sum()}, not to 1")
        self.answered = np.array([kind.answered for kind in mix.kinds], dtype=np.int64)
        nan = float("nan")
        self.values = np.array([[kind.values.get(o, nan) for o in self.observables] for kind in mix.kinds])
        self.logs = log_rows(layout, self.values)
        self.extras = {
            name: (
                np.array([p for p, _ in points]),
                np.array([x for _, x in points]),
                log_rows(
                    layout, np.array([[x if o == name else nan for o in self.observables] for _, x in points])
                ),
            )
            for name, points in mix.extras.items()
            if name in self.observables
        }


def log_rows(layout: Layout, values: Floats) -> Floats:
    """log(1 + λ (x − μ0)) for each bet; 0 where x is nan. ``values`` has a column for each hypothesis."""
    rows: Floats = np.log1p(layout.bets * (layout.spread(values) - layout.nulls))
    return np.nan_to_num(rows, nan=0.0)


def _pairs(
    rng: np.random.Generator, table: _Table, rows: Ints, cells: Ints, lam: Floats
) -> tuple[_Part, Floats]:
    counts = _counts(rng, len(rows), lam, table.p)
    sums: Floats = counts.astype(float) @ table.logs
    extras = {}
    if table.extras:
        answered = counts @ table.answered
        for name, (p, _, logs) in table.extras.items():
            extras[name] = rng.multinomial(answered, p)
            sums += extras[name].astype(float) @ logs
    return _Part(rows, cells, table.mix, counts, extras), sums


def _counts(rng: np.random.Generator, runs: int, lam: Floats, p: Floats) -> Ints:
    """How many pairs of each kind, by (run, cell, kind): independent Poisson numbers.

    Drawn as they are, or, where there are fewer pairs than numbers, pair by pair.
    """
    shape = (runs, len(lam), len(p))
    if lam.sum() * 3 > len(lam) * len(p):
        return rng.poisson(lam[:, None] * p, shape)
    edges = np.cumsum((lam[:, None] * p).ravel())
    n = rng.poisson(edges[-1] * runs)
    which = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
    which += rng.integers(runs, size=n) * len(edges)
    return np.bincount(which, minlength=runs * len(edges)).reshape(shape)


def _values(rng: np.random.Generator, table: _Table, n: int, sessions: Sessions) -> Floats:
    """The numbers of ``n`` sessions, by (session, its units, observable): one unit, or all its pairs."""
    alike = rng.random(n) < sessions.alike

    def drawn(p: Floats) -> npt.NDArray[np.intp]:
        which = np.searchsorted(np.cumsum(p)[:-1], rng.random((n, sessions.length)), side="right")
        which[alike] = which[alike, :1]
        return which

    kinds = drawn(table.p)
    values = table.values[kinds]
    for name, (p, points, _) in table.extras.items():
        x = np.where(table.answered[kinds] > 0, points[drawn(p)], np.nan)
        for column, observable in enumerate(table.observables):
            if observable == name:
                values[..., column] = x
    return session_means(values)[:, None] if sessions.units else values


def _summed(
    layout: Layout, observables: Sequence[str], values: Floats, number: Ints, rows: Ints, cells: Ints
) -> tuple[_Spans, Floats]:
    """The sums by (run, cell, bet) of ``number`` sessions by (run, cell), whose ``values`` are one after the other."""
    sums = np.zeros((number.size, len(layout.bets)))
    filled = np.flatnonzero(number)
    owner = np.repeat(filled, number.ravel()[filled])
    if len(owner):
        starts = np.concatenate([[0], np.cumsum(number.ravel()[filled])[:-1]])
        sums[filled] = np.add.reduceat(log_rows(layout, values).sum(axis=1), starts, axis=0)
    units = np.repeat(owner, values.shape[1])
    row, cell = np.divmod(units, number.shape[1])
    spans = _Spans(rows, cells, row, cell, values.reshape(len(units), values.shape[2]), observables)
    return spans, sums.reshape(*number.shape, -1)


def session_means(values: Floats) -> Floats:
    """Of each session (axis 0) the mean over its pairs (axis 1) of each number, over the pairs that have it."""
    there = ~np.isnan(values)
    n = there.sum(axis=1)
    total = np.where(there, values, 0.0).sum(axis=1)
    means: Floats = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    return means
