import logging

import pytest

from ovseg.cli.test import NEEDED
from ovseg.config import read_config
from ovseg.engine.brief_runner import BriefRunner
from ovseg.resources import config_file

LONG = ('System environment:', 'Config:\n', 'Hooks will be executed', 'SyncBatchNorm')


@pytest.mark.parametrize(('level', 'shown'), [('INFO', False), ('DEBUG', True)])
def test_the_long_reports_are_in_the_log_file_alone_but_for_debug(level, shown, tmp_path, capsys):
    options = dict(work_dir=str(tmp_path), log_level=level, experiment_name=tmp_path.name)  # a logger of its own
    cfg = read_config(str(config_file('gated_tiny-clip_demo')), options, NEEDED)
    runner = BriefRunner.from_cfg(cfg)
    runner.logger.info('an own line')
    runner.logger.warning('a warning')
    printed = capsys.readouterr().out
    file, = (handler.baseFilename for handler in runner.logger.handlers if isinstance(handler, logging.FileHandler))
    with open(file, encoding='utf-8') as log:
        written = log.read()
    assert f'log file, with versions and config: {file}\n' in printed and file.startswith(str(tmp_path))
    assert all(line in written for line in LONG) and 'an own line' in printed and 'a warning' in printed
    assert [line in printed for line in LONG] == [shown] * len(LONG)
