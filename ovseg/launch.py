"""Start and end of the processes of a distributed run."""
import os
import signal
import subprocess
import sys

PARENT = os.getppid()  # ovseg imports this module before anything else, which takes seconds

# where a launcher leaves what torch.distributed reads; torchrun sets the variables themselves
VARIABLES = dict(
    pytorch={},
    slurm=dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID'),
    mpi=dict(RANK='OMPI_COMM_WORLD_RANK', WORLD_SIZE='OMPI_COMM_WORLD_SIZE', LOCAL_RANK='OMPI_COMM_WORLD_LOCAL_RANK'))


PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Let this process end when the one that started it does, however that ends; at once, if that has ended already.

    torchrun starts its processes in sessions of their own: when it is killed, they would run on, or wait for it, for half an
    hour. Linux only; elsewhere nothing is done.

    Args:
        parent: The identifier that the parent had when this process began.
    """
    if sys.platform == 'linux':
        import ctypes
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit('the process that started this one has ended')


def join_processes_on_cpu(launcher: str) -> None:
    """Join the processes that ``launcher`` started, over gloo.

    mmengine's ``init_dist`` does so for processes that have a GPU each, and fails on a machine without.

    Args:
        launcher: pytorch, slurm or mpi. MASTER_ADDR and MASTER_PORT of the environment say where to meet; by default the first
            node of a Slurm job, and port 29500.
    """
    import torch
    os.environ.update({variable: os.environ[source] for variable, source in VARIABLES[launcher].items()})
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        nodes = subprocess.run(['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],  # noqa: S603, S607  Slurm's own
                               check=True, capture_output=True, text=True).stdout
        os.environ['MASTER_ADDR'] = nodes.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    torch.distributed.init_process_group('gloo')
