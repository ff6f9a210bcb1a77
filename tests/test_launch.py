import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from ovseg.launch import join_processes_on_cpu

LEFT_BY = dict(pytorch=dict(RANK=0, WORLD_SIZE=1, LOCAL_RANK=0, MASTER_ADDR='127.0.0.1'),
               slurm=dict(SLURM_PROCID=0, SLURM_NTASKS=1, SLURM_LOCALID=0, SLURM_NODELIST='node[3-5]'),
               mpi=dict(OMPI_COMM_WORLD_RANK=0, OMPI_COMM_WORLD_SIZE=1, OMPI_COMM_WORLD_LOCAL_RANK=0, MASTER_ADDR='127.0.0.1'))


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Leaves behind what a launcher does; ``scontrol`` knows the nodes of the job."""
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames node[3-5]" ] && printf "localhost\\nnode4\\nnode5\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=':')
    for variable in LEFT_BY['pytorch']:
        monkeypatch.setenv(variable, '')  # so that it is as before afterwards
        monkeypatch.delenv(variable)
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        monkeypatch.setenv('MASTER_PORT', str(sock.getsockname()[1]))

    def start(launcher, **changes):
        for variable, value in {**LEFT_BY[launcher], **changes}.items():
            monkeypatch.setenv(variable, str(value))
    yield start
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_a_process_joins_over_gloo(launcher, started):
    started(launcher)
    join_processes_on_cpu(launcher)
    assert dist.get_backend() == 'gloo' and (dist.get_rank(), dist.get_world_size()) == (0, 1)


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_rank_and_number_of_processes_are_the_launchers(launcher, started, monkeypatch):
    prefix = dict(slurm=('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
                  mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'))[launcher]
    started(launcher, **dict(zip(prefix, (5, 7, 2))))
    seen = {}
    monkeypatch.setattr(dist, 'init_process_group', lambda backend: seen.update(os.environ, backend=backend))
    join_processes_on_cpu(launcher)
    assert [seen[name] for name in ('backend', 'RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == ['gloo', '5', '7', '2']


def test_a_meeting_point_that_is_given_is_kept(started, monkeypatch):
    started('slurm', MASTER_ADDR='127.0.0.1', SLURM_NODELIST='unknown to scontrol')
    join_processes_on_cpu('slurm')
    assert os.environ['MASTER_ADDR'] == '127.0.0.1'


@pytest.mark.skipif(sys.platform != 'linux', reason='prctl is of Linux')
def test_a_process_ends_with_its_parent(tmp_path):
    child = ('import time; from ovseg.launch import end_with_parent; import os; end_with_parent(os.getppid())\n'
             'print("ready", flush=True); time.sleep(60)')
    parent = ('import subprocess, sys, time\n'
              f'child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE, start_new_session=True)\n'
              'child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)')
    with subprocess.Popen([sys.executable, '-c', parent], stdout=subprocess.PIPE, text=True) as process:
        child_id = int(process.stdout.readline())
        process.kill()
    deadline = time.monotonic() + 10
    while Path(f'/proc/{child_id}').exists() and ') Z ' not in Path(f'/proc/{child_id}/stat').read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
