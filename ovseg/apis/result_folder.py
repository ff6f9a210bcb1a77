"""Results of the inferencer as files."""
import json
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Type, Union

import numpy as np

from ovseg.apis.request import Request
from ovseg.claims import claim
from ovseg.evaluation.label_maps import write_label_map
from ovseg.files import write_image, write_whole
from ovseg.utils import expanded


class ResultFolder:
    """``vis/NAME.png``, ``pred/NAME.png`` and ``legend.json``, which describes the label maps.

    Files of the same names are replaced; others in the folder stay, and ``legend.json`` does not list them. As a context, it
    ends with the writing of ``legend.json``; until then no other process can write into the folder (``claim``).

    Args:
        folder: Made if need be.
        request: The classes.
        palette: One RGB colour per class.

    Raises:
        OSError: nothing can be written there, or another process is writing there; the message names the folder.
        ValueError: more classes than a 16-bit PNG can hold.
    """

    def __init__(self, folder: Union[str, Path], request: Request, palette: Sequence[Sequence[int]]) -> None:
        if len(request.names) >= 2 ** 16:
            raise ValueError(f'out_dir: {len(request.names)} classes do not fit into label maps of 16 bits')
        self.folder = expanded('out_dir', folder)
        classes = zip(request.names, request.vocabulary.synonyms, palette)
        self._legend: Dict[str, List[Dict[str, Any]]] = dict(
            classes=[dict(id=index, name=name, synonyms=synonyms, colour=list(colour))
                     for index, (name, synonyms, colour) in enumerate(classes)],
            images=[])
        with self._named_in_errors():
            self._claim = ExitStack()
            self._claim.enter_context(claim(self.folder))
            for name in ('vis', 'pred'):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.write_legend()

    def __enter__(self) -> 'ResultFolder':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: Any) -> None:
        with self._claim, suppress(*([OSError] if kind else [])):  # a second error would hide the first
            self.write_legend()

    def add(self, name: str, source: str, labels: np.ndarray, areas: Mapping[str, float], painted: np.ndarray,
            undefined: int = 0) -> None:
        """Write the label map ``(H, W)`` of an image, and the image painted by it, ``(H', W', 3)`` RGB.

        ``undefined`` is the number of pixels without a class; ``legend.json`` has it where it is not 0.
        """
        with self._named_in_errors():
            write_label_map(self.folder / 'pred' / f'{name}.png', labels)
            write_image(painted, self.folder / 'vis' / f'{name}.png')
        self._legend['images'].append(dict(name=name, source=source, areas=dict(areas),
                                             **(dict(undefined_pixels=undefined) if undefined else {})))

    def write_legend(self) -> None:
        """Write ``legend.json`` with the images added so far, whole or not at all."""
        text = json.dumps(self._legend, ensure_ascii=False, indent=1)
        with self._named_in_errors():  # a file name that is not UTF-8 becomes an escape, which JSON allows
            write_whole(self.folder / 'legend.json',
                        lambda part: part.write_text(text + '\n', encoding='utf-8', errors='backslashreplace'))

    @contextmanager
    def _named_in_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(f'cannot write into out_dir={str(self.folder)!r}: {error}') from error
