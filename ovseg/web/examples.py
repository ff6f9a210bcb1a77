"""Images to try the page with."""
from importlib.util import find_spec
from pathlib import Path
from typing import List, NamedTuple

from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.vocabulary import read_class_list

SCENES = (6, 0, 2, 12, 25)
# In the public domain; they come with scikit-image.
PHOTOGRAPHS = dict(astronaut='woman; person, space suit, flag, space shuttle, wall', chelsea='cat, blanket; sofa',
                   coffee='coffee, cup, saucer; plate, spoon, table')


class Example(NamedTuple):
    """An image with class names for it, as they are typed."""
    path: Path
    classes: str


def demo_scenes() -> List[Example]:
    """Some images of the demo's data set."""
    classes = ', '.join('; '.join(synonyms) for synonyms in read_class_list('demo_scenes'))
    return [Example(DEMO_SCENES / 'images' / f'{number:03d}.jpg', classes) for number in SCENES]


def photographs() -> List[Example]:
    """Those of ``PHOTOGRAPHS`` that are installed."""
    package = find_spec('skimage')
    folder = Path(str(package and package.origin)).parent / 'data'
    found = (Example(folder / f'{name}.png', classes) for name, classes in PHOTOGRAPHS.items())
    return [example for example in found if example.path.is_file()]
