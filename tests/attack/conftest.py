"""The scale of the attack tests, and the table of their counts.

`make attack` runs every case; the other test commands run a first part of each fuzzer, about a minute in all, and skip the
tests marked ``attack``. Cases are numbered by seeds, so that a failure can be repeated: `attack.one_case(seed)` names the seed.
"""
import os
import time
from contextlib import contextmanager
from typing import Any, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings

FULL = os.environ.get('OVSEG_ATTACK') == 'full'

COMMON: Any = dict(deadline=None, derandomize=True, database=None, print_blob=True,
                   suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.register_profile('attack', **COMMON)


class Attack:
    """Counts the cases of a test.

    Attributes:
        full: Whether all cases run, or only the first part of them.
        cases: How many have run.
    """

    def __init__(self) -> None:
        self.full = FULL
        self.cases = 0

    def seeds(self, part: int, full: int, kept: Sequence[int] = ()) -> Iterator[int]:
        """The seeds of a fuzzer: ``kept``, which once found a defect, then 0, 1, ... up to ``part`` or ``full`` of them."""
        yield from kept
        yield from range(full if self.full else part)

    def examples(self, part: int, full: int) -> settings:
        """Hypothesis settings for ``part`` or ``full`` examples."""
        return settings(settings.get_profile('attack'), max_examples=full if self.full else part)

    @contextmanager
    def one_case(self, seed: int) -> Iterator[None]:
        """Count a case; a failure inside says which seed it had."""
        try:
            yield
        except BaseException as error:
            raise AssertionError(f'case with seed {seed}: {type(error).__name__}: {error}') from error
        self.cases += 1


@pytest.fixture
def attack(request: pytest.FixtureRequest) -> Iterator[Attack]:
    counter, start = Attack(), time.perf_counter()
    yield counter
    request.node.user_properties.append(('attack', (counter.cases, time.perf_counter() - start)))


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if not FULL and item.get_closest_marker('attack'):
            item.add_marker(pytest.mark.skip(reason='part of make attack only'))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    rows = [(report.nodeid, *value) for report in terminalreporter.stats.get('', []) if report.when == 'teardown'
            for name, value in report.user_properties if name == 'attack']
    if rows:
        terminalreporter.section('attack: cases without an unexpected outcome')
        for name, cases, seconds in sorted(rows):
            terminalreporter.line(f'{cases:8d} cases {seconds:8.1f} s  {name.partition("attack/")[2]}')
