"""Results of the inferencer as files."""
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Union

import numpy as np
from PIL import Image

from ovseg.apis.vocabulary import Vocabulary
from ovseg.evaluation.label_maps import write_label_map


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
        self.folder = Path(folder).expanduser()
        classes = zip(vocabulary.names, vocabulary.synonyms, palette)
        self._legend: Dict[str, List[Dict[str, Any]]] = dict(
            classes=[dict(id=index, name=name, synonyms=words, colour=list(colour))
                     for index, (name, words, colour) in enumerate(classes)],
            pictures=[])
        try:
            for name in ('vis', 'pred'):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            self.write_legend()
        except OSError as error:
            raise OSError(f'cannot write into out_dir={str(folder)!r}: {error}') from error

    def add(self, name: str, source: str, labels: np.ndarray, areas: Mapping[str, float], painted: np.ndarray) -> None:
        """Write the label map ``(H, W)`` of a picture, and the picture painted by it, ``(H', W', 3)`` RGB."""
        write_label_map(self.folder / 'pred' / f'{name}.png', labels)
        Image.fromarray(painted).save(self.folder / 'vis' / f'{name}.png')
        self._legend['pictures'].append(dict(name=name, source=source, areas=dict(areas)))

    def write_legend(self) -> None:
        """Write ``legend.json`` with the pictures added so far."""
        text = json.dumps(self._legend, ensure_ascii=False, indent=1)
        (self.folder / 'legend.json').write_text(text + '\n', encoding='utf-8')
