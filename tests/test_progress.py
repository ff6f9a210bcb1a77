import threading

import pytest

from ovseg.progress import report, reported_to


def test_reports_reach_the_receiver_of_the_same_thread_only():
    seen = []
    report('windows', 1, 7)
    with reported_to(lambda *what: seen.append(what)):
        report('windows', 2, 7)
        thread = threading.Thread(target=report, args=('windows', 3, 7))
        thread.start()
        thread.join()
        with reported_to(lambda *what: None):
            report('windows', 4, 7)
        report('prompts', 5, 7)
    report('windows', 6, 7)
    assert seen == [('windows', 2, 7), ('prompts', 5, 7)]


def test_an_error_of_the_receiver_ends_the_computation_and_the_reports():
    with pytest.raises(KeyError, match='windows'), reported_to(lambda unit, done, total: {}[unit]):
        report('windows', 1, 2)
    report('windows', 2, 2)
