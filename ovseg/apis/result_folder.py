"""Results of the inferencer as files."""
import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Union

import numpy as np

from ovseg.apis.vocabulary import Vocabulary
from ovseg.evaluation.label_maps import write_label_map
from ovseg.files import write_image, write_whole
from ovseg.utils import expanded


class ResultFolder:
    """``vis/NAME.png``, ``pred/NAME.png`` and ``legend.json``, which tells what the label maps hold.

    Files of the same names are replaced; others in the folder stay, and ``legend.json`` says nothing of them.

    Args:
        folder: Made if need be.
        vocabulary: The classes.
        palette: One RGB colour per class.

    Raises:
        OSError: nothing can be written there; the message names the folder.
        ValueError: more classes than a PNG of 16 bits can tell apart.
    """

    def __init__(self, folder: Union[str, Path], vocabulary: Vocabulary, palette: Sequence[Sequence[int]]) -> None:
        if len(vocabulary.names) >= 2 ** 16:
            raise ValueError(f'out_dir: {len(vocabulary.names)} classes do not fit into label maps of 16 bits')
        self.folder = expanded('out_dir', folder)
        classes = zip(vocabulary.names, vocabulary.synonyms, palette)
        self._legend: Dict[str, List[Dict[str, Any]]] = dict(
            classes=[dict(id=index, name=name, synonyms=words, colour=list(colour))
                     for index, (name, words, colour) in enumerate(classes)],
            pictures=[])
        with self._named_in_errors():
            for name in ('vis', 'pred'):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.write_legend()

    def add(self, name: str, source: str, labels: np.ndarray, areas: Mapping[str, float], painted: np.ndarray) -> None:
        """Write the label map ``(H, W)`` of a picture, and the picture painted by it, ``(H', W', 3)`` RGB."""
        with self._named_in_errors():
            write_label_map(self.folder / 'pred' / f'{name}.png', labels)
            write_image(painted, self.folder / 'vis' / f'{name}.png')
        self._legend['pictures'].append(dict(name=name, source=source, areas=dict(areas)))

    def write_legend(self) -> None:
        """Write ``legend.json`` with the pictures added so far, whole or not at all."""
        text = json.dumps(self._legend, ensure_ascii=False, indent=1)
        with self._named_in_errors():  # a file name that is not UTF-8 becomes an escape, which JSON knows
            write_whole(self.folder / 'legend.json',
                        lambda part: part.write_text(text + '\n', encoding='utf-8', errors='backslashreplace'))

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(f'cannot write into out_dir={str(self.folder)!r}: {error}') from error
