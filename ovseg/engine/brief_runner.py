"""mmengine's Runner with a short report on the terminal."""
import logging
import sys
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner


class BriefRunner(Runner):
    """Leaves the description of the machine, the config and the hooks to the log file, whose path is on the terminal.

    ``log_level='DEBUG'`` brings them, and all else, to the terminal as well.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """See ``Runner``."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler and handler.level > logging.DEBUG:
                handler.addFilter(_is_brief)
            elif isinstance(handler, logging.FileHandler):
                logger.info(f'log file, with versions and config: {handler.baseFilename}')
        return logger


def _is_brief(record: logging.LogRecord) -> bool:
    """False for what mmengine's Runner reports of itself while it is built."""
    of_runner = record.pathname == sys.modules[Runner.__module__].__file__
    return record.levelno > logging.INFO or not (of_runner and record.funcName in ('__init__', '_log_env', 'wrap_model'))
