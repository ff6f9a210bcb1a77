from collections import OrderedDict

import pytest
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True)
def _loggers_of_their_own(monkeypatch):
    """As in a new process. A logger keeps the stream it was made with, and those of ``capsys`` are closed after each test."""
    monkeypatch.setattr(MMLogger, '_instance_dict', OrderedDict())
