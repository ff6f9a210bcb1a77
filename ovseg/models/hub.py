"""The Hugging Face hub, where it cannot be reached: its cache is looked into, and nothing is tried again and again."""
import ssl
import threading
from contextlib import contextmanager
from typing import Iterator, Optional
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

SECONDS = 5  # for a connection
_offline = threading.RLock()  # held while the setting of the whole process is another one


def unreachable() -> str:
    """Reason why the hub cannot be reached; empty if it can.

    Nothing is sent where ``HF_HUB_OFFLINE`` is set. ``HF_ENDPOINT`` and the variables of proxies are heeded.
    """
    if constants.HF_HUB_OFFLINE:
        return 'HF_HUB_OFFLINE is set, so nothing is downloaded'
    try:
        with urlopen(Request(constants.ENDPOINT, method='HEAD'), timeout=SECONDS):  # noqa: S310  the user's own setting
            return ''
    except HTTPError:
        return ''
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        # certificates are found in other ways by huggingface_hub
        return '' if isinstance(reason, ssl.SSLError) else f'{constants.ENDPOINT} cannot be reached: {reason}'


@contextmanager
def cache_if_unreachable() -> Iterator[None]:
    """Let packages that load from the hub look into its cache only, where the hub cannot be reached.

    They would try to connect six times for each file, which takes up to a minute.

    Raises:
        FileNotFoundError: the hub cannot be reached, and a file is not in the cache; says why. It replaces the error of such a
            file; others, as those of a damaged file, are theirs.
    """
    with _offline:
        reason, offline = unreachable(), constants.HF_HUB_OFFLINE
        if reason:
            constants.HF_HUB_OFFLINE = True
            try:
                yield
            except (OSError, RuntimeError, ValueError) as error:
                if not _of_missing_file(error):
                    raise
                raise FileNotFoundError(reason) from error
            finally:
                constants.HF_HUB_OFFLINE = offline
            return
    yield


def _of_missing_file(error: Optional[BaseException]) -> bool:
    """True for an error that was raised because a file is not in the cache, or while such an error was handled."""
    while error is not None and not isinstance(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
        error = error.__cause__ or error.__context__
    return error is not None
