import os
from pathlib import Path

from ovseg.claims import claim
from ovseg.corpus.attempts import Attempts


def killed(folder, *names, task=7):
    """What a worker leaves that ends while it works on the last of these."""
    attempts = Attempts(folder, task).__enter__()
    for name in names:
        attempts.begin(name)


def test_an_image_that_ends_its_worker_three_times_is_given_up(tmp_path):
    killed(tmp_path, 'a', 'b')
    killed(tmp_path, 'a', 'b', 'c\udce9')
    killed(tmp_path, 'a', 'b')
    with Attempts(tmp_path, 8) as other, Attempts(tmp_path, 7) as third:
        assert other.ended == [] and third.ended == ['b', 'c\udce9', 'b'] and third.given_up == []
    assert list(tmp_path.iterdir()) == []
    for _ in range(3):
        killed(tmp_path, 'a', 'b\u2028c\r')
    with Attempts(tmp_path, 7) as attempts:
        assert attempts.given_up == ['b\u2028c\r']


def test_a_task_that_is_done_leaves_nothing(tmp_path):
    with Attempts(tmp_path, 7) as attempts:
        attempts.begin('a')
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_what_is_left(tmp_path):
    killed(tmp_path, 'a')
    with claim(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ['.lock']


def test_the_next_run_removes_the_file_that_was_being_written(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:  # neither renamed nor removed, as after a kill
        patch.setattr(os, 'replace', lambda part, path: None)
        patch.setattr(Path, 'unlink', lambda path, missing_ok=False: None)
        killed(tmp_path, 'a')
    assert len(list(tmp_path.iterdir())) == 1
    with claim(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ['.lock']
