"""Evaluate a config in several processes of one machine, one per GPU where there are GPUs.

    ovseg dist-test CONFIG 4 --out predictions         (4 processes; what follows are arguments of ovseg test)

Environment: PORT (default 29500) keeps two runs on one machine apart; several machines: NNODES, NODE_RANK, MASTER_ADDR.
"""
import argparse
import os

from ovseg.resources import config_file
from ovseg.utils import check_integer


def add_parser(commands: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add ``dist-test`` to the commands."""
    parser = commands.add_parser('dist-test', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', metavar='CONFIG', help='config file, or the name of one that comes with ovseg')
    parser.add_argument('processes', type=int, metavar='GPUS', help='number of processes')
    parser.add_argument('arguments', nargs=argparse.REMAINDER, metavar='...', help='arguments of ovseg test')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start the processes by torch's launcher and wait for them; the exit code is 1 where one of them fails."""
    from ovseg.cli import parse_arguments
    check_integer('GPUS', args.processes, 1)
    test = ['test', str(config_file(args.config)), *args.arguments]
    parse_arguments(test)  # so that a mistyped option is refused once, and at once
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as launch
    get = os.environ.get
    try:
        launch([f'--nnodes={get("NNODES", "1")}', f'--node_rank={get("NODE_RANK", "0")}',
                f'--master_addr={get("MASTER_ADDR", "127.0.0.1")}', f'--master_port={get("PORT", "29500")}',
                f'--nproc_per_node={args.processes}', '-m', 'ovseg', *test, '--launcher', 'pytorch'])
    except ChildFailedError:  # each of them has printed its error
        return 1
    except SignalException as ended:
        if ended.sigval.name == 'SIGINT':
            raise KeyboardInterrupt from ended
        return 128 + ended.sigval
    return 0
