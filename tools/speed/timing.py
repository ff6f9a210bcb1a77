"""Candidates measured in turn, so that whatever else the machine does meets all of them alike."""
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Callable, Dict, List, Optional

import torch


@dataclass
class Row:
    """One line of the table; ``ratio`` is the median over rounds of this candidate's time over the group's first one's."""
    what: str
    candidate: str
    sizes: str
    precision: str
    median_s: float
    rounds: int
    ratio: float
    images_per_s: Optional[float] = None
    peak_mb: Optional[float] = None


@dataclass
class Group:
    """Candidates that are compared with the first of them; ``images`` is what one call of a candidate gets through."""
    what: str
    sizes: str
    candidates: Dict[str, Callable[[], Any]]
    precision: str = 'fp32'
    images: Optional[int] = None
    rounds: Optional[int] = None  # where one is dear enough to need fewer than the others
    warm_up: bool = True  # False where a round takes minutes


def in_turn(candidates: Dict[str, Callable[[], Any]], rounds: int, device: str, warm_up: bool = True) -> Dict[str, List[float]]:
    """Seconds of every candidate, A B C A B C ..., after one round that does not count, the ``warm_up``."""
    seconds: Dict[str, List[float]] = {name: [] for name in candidates}
    for counts in [False] * warm_up + [True] * rounds:
        for name, candidate in candidates.items():
            synchronize(device)
            start = time.perf_counter()
            candidate()
            synchronize(device)
            if counts:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronize(device: str) -> None:
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def measure(group: Group, rounds: int, device: str) -> List[Row]:
    rounds = min(rounds, group.rounds or rounds)
    times = in_turn(group.candidates, rounds, device, group.warm_up)
    first = next(iter(times.values()))
    rows = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rows.append(Row(group.what, name, group.sizes, group.precision, median, rounds,
                        statistics.median(a / b for a, b in zip(seconds, first)),
                        group.images / median if group.images else None))
        if device.startswith('cuda'):
            torch.cuda.reset_peak_memory_stats()
            group.candidates[name]()
            rows[-1].peak_mb = torch.cuda.max_memory_allocated() / 2 ** 20
    return rows


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Result of ``function`` in a process of its own, whose peak memory is its own."""
    with get_context('spawn').Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    unit = 2 ** 20 if sys.platform == 'darwin' else 2 ** 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
