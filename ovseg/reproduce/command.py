"""The command ``ovseg reproduce``."""
import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from ovseg.cfg_options import add_cfg_options
from ovseg.cli.env import describe
from ovseg.files import check_writable, write_text
from ovseg.program import ERRORS
from ovseg.reproduce.measure import INDICES, Task, measure, prepare, verdict
from ovseg.reproduce.presets import Preset, find_presets
from ovseg.reproduce.report import Outcome, markdown_report
from ovseg.utils import check_integer, one_line, shown


def reproduce(names: Sequence[str], subset: Optional[int], out: Optional[Path], work_dir: Path,
              cfg_options: Sequence[str]) -> int:
    """Measure the presets of ``names`` and print the report on standard output, and messages and logs on standard error.

    Args:
        names: See ``find_presets``.
        subset: Number of images of each data set; None for all.
        out: File for the report.
        work_dir: Folder for intermediate results.
        cfg_options: Settings as ``KEY=VALUE``.

    Returns:
        The exit code: 0 if every preset was measured and none is outside of the tolerance, else 1.

    Raises:
        OSError: ``out`` cannot be written.
        ValueError: a wrong name, number or setting.
    """
    if out is not None:
        check_writable(out)
    if subset is not None:
        check_integer('--subset', subset, 2, meaning='images, for one has no standard error')
    options = _parsed(cfg_options)
    if subset is not None and options.get(INDICES) is not None:
        raise ValueError(f'--subset {subset} and {INDICES}={shown(options[INDICES])} both choose images: leave one of them out')
    presets = find_presets(names)
    outcomes: Dict[Preset, Outcome] = {}
    interrupted = False
    with redirect_stdout(sys.stderr):  # of mmengine's logger, too
        tasks = _prepared(presets, options, subset, work_dir, outcomes)
        try:
            for task in tasks:
                outcomes[task.preset] = _measured(task)
        except KeyboardInterrupt:
            interrupted = True
    finished = [(preset, outcomes[preset]) for preset in presets if preset in outcomes]
    report = markdown_report(finished, describe(), options)
    print(report, end='')
    if out is not None:
        write_text(out, report)
    if interrupted:
        raise KeyboardInterrupt
    return int(any(isinstance(outcome, str) or verdict(preset, outcome) == 'outside' for preset, outcome in finished))


def _prepared(presets: Sequence[Preset], options: Dict[str, Any], subset: Optional[int], work_dir: Path,
              outcomes: Dict[Preset, Outcome]) -> List[Task]:
    """The tasks of the presets that can be measured; the others, with a line on standard error each, go to ``outcomes``."""
    tasks = []
    for preset in presets:
        try:
            tasks.append(prepare(preset, options, subset, work_dir))
        except ERRORS as error:
            print(f'{preset.name} cannot be measured: {one_line(error)}', flush=True)
            outcomes[preset] = one_line(error)
    return tasks


def _measured(task: Task) -> Outcome:
    print(f'measuring {task.preset.name}', flush=True)
    try:
        return measure(task)
    except ERRORS as error:
        print(f'{task.preset.name} cannot be measured: {one_line(error)}', flush=True)
        return one_line(error)


def _parsed(cfg_options: Sequence[str]) -> Dict[str, Any]:
    """Settings by dotted key.

    Raises:
        ValueError: a text is no setting.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    add_cfg_options(parser, '')
    try:
        return dict(parser.parse_args(['--cfg-options', *cfg_options] if cfg_options else []).cfg_options)
    except argparse.ArgumentError as error:
        raise ValueError(error) from error
