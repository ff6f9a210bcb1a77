import threading

import pytest
import torch

from ovseg.inference import cache
from ovseg.inference.cache import keep_recent
from ovseg.inference.decode import axis_strips
from ovseg.inference.windows import WindowLayout


@pytest.fixture
def zeros(monkeypatch):
    """A function whose results are kept up to 10 kB, and the list of its calls."""
    monkeypatch.setattr(cache, 'CACHE_BYTES', 10_000)
    calls = []

    @keep_recent
    def make(bytes_):
        calls.append(bytes_)
        return (slice(0, 1), (torch.zeros(bytes_ - cache.TENSOR_BYTES, dtype=torch.uint8), 3))
    make.calls = calls
    return make


def test_a_result_is_made_once(zeros):
    assert zeros(3000) is zeros(3000)
    assert zeros.calls == [3000]


def test_the_results_used_last_are_kept_up_to_the_bound(zeros):
    for bytes_ in (3000, 3001, 3002, 3000, 3003, 3000, 3001):
        zeros(bytes_)
    assert zeros.calls == [3000, 3001, 3002, 3003, 3001]


def test_a_result_over_the_bound_is_made_again_each_time(zeros):
    for _ in range(2):
        zeros(10_001)
    assert zeros.calls == [10_001] * 2


def test_a_result_over_the_bound_leaves_the_others(zeros):
    for bytes_ in (3000, 10_001, 3000):
        zeros(bytes_)
    assert zeros.calls == [3000, 10_001]


def test_small_results_are_kept_up_to_a_number(zeros, monkeypatch):
    monkeypatch.setattr(cache, 'CACHE_ENTRIES', 2)
    for bytes_ in (1025, 1026, 1027, 1026, 1025):
        zeros(bytes_)
    assert zeros.calls == [1025, 1026, 1027, 1025]


def test_what_is_kept_may_be_differentiated_through():
    with torch.inference_mode():
        strips = axis_strips(WindowLayout.plan((1, 53), 23, 11, (5, 5)).cols, 59, 640, torch.device('cpu'))
    assert not strips[0].operator.is_inference()


def test_threads_may_share_a_cache(zeros):
    def run(first):
        for index in range(300):
            assert zeros(1025 + (first + index) % 11)[1][0].numel() == 1 + (first + index) % 11

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(zeros.calls) >= 11
