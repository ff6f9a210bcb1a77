"""The machines of a cluster: how many workers they hold, and what each must have in common with this one."""
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ovseg.evaluation.run_record import software
from ovseg.utils import check_integer, one_line, quoted, shown

CPUS = 4  # of a worker without a GPU, where a machine has as many


class Workers(NamedTuple):
    """The workers of a run.

    Args:
        number: How many fit into the cluster.
        cpus: Of each; None beside a GPU.
        device: ``'cpu'``, or ``'cuda'`` for one GPU each.
        nodes: The machines that they run on, as Ray describes them.
    """
    number: int
    cpus: Optional[int]
    device: str
    nodes: List[Mapping[str, Any]]


def plan_workers(nodes: Sequence[Mapping[str, Any]], device: Optional[str], cpus: Optional[int]) -> Workers:
    """One worker per GPU, or per so many CPUs.

    Args:
        nodes: What ``ray.nodes()`` returns.
        device: ``'cpu'`` or ``'cuda'``; None takes GPUs, if there are any.
        cpus: CPUs of a worker without a GPU; by default ``CPUS``, or all of the largest machine.

    Raises:
        ValueError: another device, a wrong number, or no machine that is large enough.
    """
    if device not in (None, 'cpu', 'cuda'):
        raise ValueError(f'--device={shown(device)} must be cpu or cuda with --engine ray, which gives each worker its GPU')
    alive = [node for node in nodes if node['Alive']]
    if device is None:
        device = 'cuda' if any(_has(node, 'GPU') for node in alive) else 'cpu'
    if device == 'cuda':
        if cpus is not None:
            raise ValueError(f'--cpus-per-worker={cpus} is of workers without a GPU: with --device cuda there is one per GPU')
        counts, needed = [_has(node, 'GPU') for node in alive], 'a GPU'
    else:
        cpus = min(CPUS, max((_has(node, 'CPU') for node in alive), default=1)) or 1 if cpus is None else cpus
        check_integer('--cpus-per-worker', cpus, 1)
        counts, needed = [_has(node, 'CPU') // cpus for node in alive], f'{cpus} CPUs'
    if not any(counts):
        raise ValueError(f'no machine of the cluster has {needed} for a worker (--device, --cpus-per-worker)')
    return Workers(sum(counts), cpus, device, [node for node, count in zip(alive, counts) if count])


def node_name(node: Mapping[str, Any]) -> str:
    """Name and address of a machine."""
    return f'{node["NodeManagerHostname"]} ({node["NodeManagerAddress"]})'


def state(folder: Path, token: str, image: Optional[Path]) -> Dict[str, str]:
    """The versions of this machine, and under ``problem`` what keeps it from the work.

    Args:
        folder: Of the results.
        token: Name of a file that the driver has made in it.
        image: One of the images; None where none is a file.
    """
    found = dict(software(), python='.'.join(map(str, sys.version_info[:2])))
    own = folder / f'.{uuid.uuid4().hex[:8]}.part'
    try:
        if not (folder / token).is_file():
            return dict(found, problem=f'--out={quoted(folder)} is not there as it is on the machine where the run was '
                        'started: it must be a folder that all machines share')
        own.touch()
        if image is not None and not image.is_file():
            return dict(found, problem=f'image {quoted(image)} is not there')
    except OSError as error:
        return dict(found, problem=f'cannot write into --out={quoted(folder)}: {one_line(error)}')
    finally:
        with suppress(OSError):
            own.unlink()
    return found


def check_states(states: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse machines that would give other labels than this one, or cannot work.

    Args:
        states: What ``state`` returned, by the name of the machine.

    Raises:
        ValueError: names the first such machine, and what is different.
    """
    here = dict(software(), python='.'.join(map(str, sys.version_info[:2])))
    for name, found in states.items():
        for package, version in here.items():
            if found.get(package) != version:
                raise ValueError(f'{name} has another version of {package}: {found.get(package)}, and {version} here')
        if 'problem' in found:
            raise ValueError(f'{name}: {found["problem"]}')


def _has(node: Mapping[str, Any], resource: str) -> int:
    return int(node['Resources'].get(resource, 0))
