import threading
import time

import pytest
import torch

from ovseg.web.running import CancelledError, stopped


def never():
    return False


def test_a_model_is_stopped_and_others_are_not():
    layer = torch.nn.Linear(3, 5)
    with pytest.raises(ValueError, match=r'this takes more than 0\.01 seconds'), stopped(0.01, never):
        layer(torch.zeros(2, 3))
        time.sleep(0.02)
        layer(torch.zeros(2, 3))
    with stopped(300, never):
        layer(torch.zeros(2, 3))
    assert layer(torch.zeros(2, 3)).shape == (2, 5)


def test_a_model_that_is_cancelled_is_stopped_at_its_next_layer():
    layers, reached = [torch.nn.Linear(3, 3) for _ in range(5)], []
    with pytest.raises(CancelledError), stopped(300, lambda: len(reached) == 2):
        for layer in layers:
            layer(torch.zeros(2, 3))
            reached.append(layer)
    assert reached == layers[:2]


def test_models_of_other_threads_go_on():
    results = []
    with stopped(300, lambda: True):
        thread = threading.Thread(target=lambda: results.append(torch.nn.Linear(3, 5)(torch.zeros(2, 3)).shape))
        thread.start()
        thread.join()
    assert results == [(2, 5)]
