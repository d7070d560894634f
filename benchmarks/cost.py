"""What a process of its own costs: rates by the clock and by CPU, and memory, as Linux counts them."""

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """Things done a second by the clock, the same a second of CPU, and the most memory of one process, MiB."""

    rate: float
    per_core: float
    peak: float


def cpu_of(*pids: int) -> float:
    """Seconds of CPU, user and system, that these processes have taken."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_of(pid: int) -> float:
    """The most memory that it has had, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def medians(title: str, what: str, found: Mapping[str, Sequence[Cost]]) -> dict[str, dict[str, int]]:
    """Of each way's rounds; printed as a table, and returned by way and field."""
    table = {
        way: {
            field: round(statistics.median(getattr(cost, field) for cost in costs)) for field in Cost._fields
        }
        for way, costs in found.items()
    }
    print(f"{title:<36}{what:>10}{'a core':>10}{'MiB at most':>13}")
    for way, cost in table.items():
        print(f"{way:<36}{cost['rate']:>10,}{cost['per_core']:>10,}{cost['peak']:>13,}")
    return table


def ratio(mine: Sequence[Cost], peer: Sequence[Cost]) -> float:
    """Of what is done a second of CPU, round by round: the median."""
    return statistics.median(one.per_core / other.per_core for one, other in zip(mine, peer, strict=True))
