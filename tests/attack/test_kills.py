"""Real processes, really killed: what is left of a run is finished by another, with the result of one that nobody killed."""
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import ovseg

ROOT = Path(ovseg.__file__).parents[1]
SIZES = {f'{"far/" * (number % 3 == 0)}{number}': (61 + 4 * number, 113 - 6 * number) for number in range(12)}
CONFIG = f"""
_base_ = ['{ROOT}/configs/demo/gated_tiny-clip_demo.py']
custom_imports = dict(imports=['ovseg', 'confusion_matrix'])
model = dict(vocabulary=dict(templates='plain'))
test_dataloader = dict(num_workers=1, dataset=dict(data_root='scenes'))
test_evaluator = [dict(type='ConfusionMatrix')]
"""
METRIC = """
import numpy as np
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS

@METRICS.register_module()
class ConfusionMatrix(BaseMetric):
    def process(self, data_batch, data_samples):
        for sample in data_samples:
            sample = sample if isinstance(sample, dict) else sample.to_dict()
            truth, found = (sample[key]['data'].flatten().numpy() for key in ('gt_sem_seg', 'pred_sem_seg'))
            self.results.append(np.bincount(16 * truth + found, minlength=16 * 16).reshape(16, 16))

    def compute_metrics(self, results):
        np.save('confusion.npy', sum(results))
        return dict(images=len(results))
"""


class Job:
    """A run, and all processes that belong to it, which have one mark in their environment."""

    def __init__(self, folder, processes, *arguments):
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            port = str(sock.getsockname()[1])
        command = ([sys.executable, str(ROOT / 'tools' / 'test.py'), 'config.py'] if processes == 1 else
                   [str(ROOT / 'tools' / 'dist_test.sh'), 'config.py', str(processes)])
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
        mark, self.log = uuid.uuid4().hex, folder / 'log'
        self.mark = f'OVSEG_ATTACK_JOB={mark}'.encode()
        with self.log.open('wb') as log:
            self.first = subprocess.Popen(
                [*command, *arguments], cwd=folder, stdout=log, stderr=log,
                env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{folder}', 'PATH': path, 'PORT': port,
                     'OVSEG_ATTACK_JOB': mark, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''})

    def running(self):
        """Command lines of the processes that have not ended, by their number."""
        found = {}
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit():
                try:
                    if self.mark in (entry / 'environ').read_bytes().split(b'\0'):
                        found[int(entry.name)] = (entry / 'cmdline').read_bytes()
                except OSError:  # it has ended meanwhile
                    continue
        return found

    def kill(self):
        while running := self.running():
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.first.poll()
        self.first.wait()

    def wait_until_all_have_ended(self, seconds):
        begin = time.monotonic()
        while self.running():
            assert time.monotonic() - begin < seconds, self.running()
            self.first.poll()
            time.sleep(0.05)
        return time.monotonic() - begin


def finish(folder, processes, *arguments):
    job = Job(folder, processes, *arguments)
    assert job.first.wait(timeout=300) == 0, job.log.read_text()[-3000:]


def label_maps(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*.png')}


@pytest.fixture(scope='module')
def workplace(tmp_path_factory, draw_scenes):
    """A folder with scenes and config, and what a run gives that nobody kills."""
    folder = tmp_path_factory.mktemp('kills')
    draw_scenes(folder / 'scenes', SIZES)
    (folder / 'config.py').write_text(CONFIG)
    (folder / 'confusion_matrix.py').write_text(METRIC)
    finish(folder, 1, '--out', 'whole')
    return folder, label_maps(folder / 'whole'), np.load(folder / 'confusion.npy')


def check_result(workplace):
    folder, whole, confusion = workplace
    assert label_maps(folder / 'maps') == whole
    assert np.array_equal(np.load(folder / 'confusion.npy'), confusion)


@pytest.mark.parametrize('processes', [pytest.param(1, marks=pytest.mark.attack), 2, pytest.param(3, marks=pytest.mark.attack)])
@pytest.mark.slow
def test_a_killed_run_is_finished_by_another_number_of_processes(processes, workplace, attack):
    folder, whole, _ = workplace
    assert len(whole) == len(SIZES)
    for seed in attack.seeds(part=1, full=10):
        with attack.one_case(seed):
            rng = random.Random(100 * processes + seed)
            shutil.rmtree(folder / 'maps', ignore_errors=True)
            job = Job(folder, processes, '--out', 'maps')
            wanted, pause = rng.randrange(len(SIZES)), rng.random() / 10
            while job.first.poll() is None and len(label_maps(folder / 'maps')) < wanted:
                time.sleep(0.002)
            time.sleep(pause if wanted else 100 * pause)  # before the first label map, most of the time is for imports
            job.kill()
            kept = label_maps(folder / 'maps')
            assert kept == {name: whole[name] for name in kept}
            (folder / 'confusion.npy').unlink(missing_ok=True)
            finish(folder, processes % 3 + 1, '--out', 'maps', '--resume')
            check_result(workplace)
            assert not list(folder.glob('maps/**/*.part'))


def started(folder):
    """A job of two processes that has written a label map, and the numbers of the launcher and of the two."""
    shutil.rmtree(folder / 'maps', ignore_errors=True)
    job = Job(folder, 2, '--out', 'maps')
    while not label_maps(folder / 'maps'):
        assert job.first.poll() is None, job.log.read_text()[-3000:]
        time.sleep(0.01)
    launcher = next(pid for pid, command in job.running().items() if b'torchrun' in command)
    return job, launcher, [pid for pid in job.running() if parent_of(pid) == launcher]


def parent_of(pid):
    return int((Path('/proc') / str(pid) / 'stat').read_text().rpartition(')')[2].split()[1])


@pytest.mark.attack
@pytest.mark.parametrize('victim', ['a process', 'the launcher'])
def test_a_killed_process_ends_the_job_and_leaves_no_process(victim, workplace, attack):
    folder = workplace[0]
    for seed in range(3):
        with attack.one_case(seed):
            job, launcher, processes = started(folder)
            assert len(processes) == 2
            os.kill(launcher if victim == 'the launcher' else processes[seed % 2], signal.SIGKILL)
            seconds = job.wait_until_all_have_ended(30)
            assert job.first.wait() != 0
            print(f'{seconds:.1f} s from the end of {victim} to the end of the last one')


@pytest.mark.attack
def test_runs_of_two_processes_end_well_again_and_again(workplace, attack):
    folder = workplace[0]
    for seed in attack.seeds(0, 20):
        with attack.one_case(seed):
            shutil.rmtree(folder / 'maps', ignore_errors=True)
            finish(folder, 2, '--out', 'maps')
            check_result(workplace)


@pytest.mark.attack
def test_of_two_runs_that_start_at_once_one_is_refused(workplace, attack):
    folder, whole, _ = workplace
    for seed in attack.seeds(0, 3):
        with attack.one_case(seed):
            shutil.rmtree(folder / 'maps', ignore_errors=True)
            jobs = [Job(folder, processes, '--out', 'maps') for processes in (1, 2)]
            codes = [job.first.wait(timeout=300) for job in jobs]
            assert sorted(code != 0 for code in codes) == [False, True]
            assert label_maps(folder / 'maps') == whole
