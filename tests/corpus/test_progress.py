import re

from rich.progress import Progress
from rich.text import Text

from ovseg.corpus import progress
from ovseg.corpus.progress import CollectionProgress, _Rate, progress_line


def task(times, done, total=100):
    """A task of which ``done`` images were counted at the last of these times."""
    clock = iter(times)
    shown = Progress(disable=True, get_time=lambda: now[0], speed_estimate_period=300)
    now = [next(clock)]
    number = shown.add_task('', total=total)
    for _, now[0] in zip(range(done), clock):
        shown.advance(number)
    return shown.tasks[0]


def test_the_rate_and_the_time_that_remains():
    found = task([0, *(2 * number for number in range(1, 41))], 40)
    assert progress_line(found) == '40 of 100 images, 0.5 per second, 0:02:00 left'
    assert _Rate().render(found).plain == '0.5 images/s'


def test_before_the_rate_is_known():
    assert progress_line(task([0], 0)) == '0 of 100 images' and _Rate().render(task([0], 0)) == Text('')


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    with CollectionProgress(90) as shown:
        for second in range(1, 91):
            now[0] = second
            shown.advance()
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 2 and re.fullmatch(r'ovseg: 31 of 90 images, [\d.]+ per second, \d:\d\d:\d\d left', lines[0])
