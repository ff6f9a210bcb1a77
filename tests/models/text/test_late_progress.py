import io
import logging
import time
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger
from rich.console import Console

from ovseg.models.text import late_progress
from ovseg.models.text.late_progress import LateProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is moved: ``clock[0] += seconds``."""
    now = [100.0]
    # not time.monotonic itself, which threads of other tests use
    monkeypatch.setattr(late_progress, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def screen(monkeypatch):
    """Text that is written; ``screen(is_terminal)`` chooses on what."""
    written = io.StringIO()

    def choose(is_terminal):
        monkeypatch.setattr(late_progress, 'Console', lambda stderr: Console(
            file=written, force_terminal=is_terminal, width=79, color_system=None, legacy_windows=False))
        return written
    return choose


@pytest.fixture
def lines():
    messages, handler = [], logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def work(clock, steps=7, seconds=1.0):
    with LateProgress('Work', 10 * steps) as progress:
        for _ in range(steps):
            clock[0] += seconds
            progress.advance(10)


def test_the_clock_of_everything_else_runs_on(clock):
    assert time.monotonic() != clock[0] == late_progress.time.monotonic()


def test_short_work_shows_nothing(clock, screen, lines):
    for is_terminal in (True, False):
        written = screen(is_terminal)
        work(clock, seconds=0.28)  # 1.96 s
    assert written.getvalue() == '' and not lines


def test_work_that_is_done_when_patience_ends_shows_nothing(clock, screen, lines):
    written = screen(True)
    work(clock, steps=1, seconds=60)
    assert written.getvalue() == '' and not lines


def test_bar_on_a_terminal(clock, screen, lines):
    written = screen(True)
    work(clock)
    assert 'Work' in written.getvalue() and '70/70' in written.getvalue() and not lines


def test_bar_appears_after_two_seconds(clock, screen):
    written = screen(True)
    with LateProgress('Work', 50) as progress:
        clock[0] += 1.99
        progress.advance(10)
        assert written.getvalue() == ''
        clock[0] += 0.01
        progress.advance(10)
        assert '20/50' in written.getvalue()


def test_lines_elsewhere_at_most_every_ten_seconds(clock, screen, lines):
    written = screen(False)
    work(clock, steps=25, seconds=1.25)
    assert written.getvalue() == ''
    assert lines == [f'Work: {done} of 250' for done in (20, 100, 180)]


@pytest.mark.parametrize('is_terminal', [True, False])
def test_only_the_main_process_shows_anything(clock, screen, lines, monkeypatch, is_terminal):
    monkeypatch.setattr(late_progress, 'is_main_process', lambda: False)
    written = screen(is_terminal)
    work(clock)
    assert written.getvalue() == '' and not lines


def test_bar_is_closed_when_work_fails(clock, screen):
    written = screen(True)
    with pytest.raises(KeyError), LateProgress('Work', 50) as progress:
        clock[0] += 3
        progress.advance(10)
        raise KeyError
    assert written.getvalue().endswith('\x1b[?25h')  # the cursor is back
