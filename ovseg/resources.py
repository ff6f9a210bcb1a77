"""Location of ovseg's configs."""
from pathlib import Path

PACKAGE = Path(__file__).parent


def configs_dir() -> Path:
    """The folder of the configs: inside an installed package (``ovseg/.mim``), beside the package in a checkout.

    Raises:
        FileNotFoundError: there is none; says where it was looked for.
    """
    places = (PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs')
    for place in places:
        if place.is_dir():
            return place
    raise FileNotFoundError(f'ovseg has no configs: neither {places[0]} nor {places[1]} is a folder. Install ovseg by pip, or '
                            'use a whole checkout')
