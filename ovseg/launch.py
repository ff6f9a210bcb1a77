"""Several processes without GPUs."""
import os
import subprocess

import torch

# where a launcher leaves what torch.distributed reads; torchrun sets the variables themselves
VARIABLES = dict(
    pytorch={},
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    mpi=dict(RANK='OMPI_COMM_WORLD_RANK', WORLD_SIZE='OMPI_COMM_WORLD_SIZE', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK'))


def join_processes_on_cpu(launcher: str) -> None:
    """Join the processes that ``launcher`` started, over gloo.

    mmengine's ``init_dist`` does so for processes that have a GPU each, and fails on a machine without.

    Args:
        launcher: pytorch, slurm or mpi. MASTER_ADDR and MASTER_PORT of the environment say where to meet; by default the first
            node of a Slurm job, and port 29500.
    """
    os.environ.update({variable: os.environ[source] for variable, source in VARIABLES[launcher].items()})
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']], check=True,
                               capture_output=True, text=True).stdout
        os.environ['MASTER_ADDR'] = nodes.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    torch.distributed.init_process_group('gloo')
