"""The devices that torch computes on."""
from typing import Union

import torch

from ovseg.utils import shown


def usable(device: Union[str, torch.device]) -> torch.device:
    """``device``, if it computes.

    Raises:
        ValueError: it does not; says why.
    """
    try:
        number = torch.zeros(1, device=device)
        number.cpu()  # fails on 'meta', which has no values
        return number.device
    except (RuntimeError, TypeError, AssertionError, ImportError) as error:  # the last two: torch was built without it
        reason = str(error).splitlines()[0].split('. ')[0]
        raise ValueError(f'device={shown(str(device))} cannot be used: {reason}') from error
