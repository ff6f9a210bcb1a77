"""Presets and the scores that metafiles give for them."""
import difflib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import List, Optional, Sequence

import yaml  # type: ignore[import-untyped]

from ovseg.resources import configs_dir
from ovseg.utils import quoted

PUBLISHED = 'published'
GROUPS = {'mess': '*_mess_*'}  # names of groups of data sets, as patterns


@dataclass(frozen=True)
class Preset:
    """A config that a metafile lists.

    Attributes:
        name: Its path in the folder of configs without the suffix: ``naclip/naclip_vit-b16_voc20``.
        config: Its file.
        score: The expected mIoU in percent; None where there is none.
        origin: ``'published'``, or where else the score comes from.
    """
    name: str
    config: Path
    score: Optional[float]
    origin: str


def all_presets() -> List[Preset]:
    """The presets of all metafiles ``configs/*/metafile.yml``, in their order."""
    root = configs_dir()
    presets = []
    for path in sorted(root.glob('*/metafile.yml')):
        metafile = yaml.safe_load(path.read_text(encoding='utf-8'))
        origin = metafile['Collections'][0]['Metadata'].get('Scores', PUBLISHED)
        for model in metafile['Models']:
            config = root.parent / model['Config']
            score = model['Results'][0].get('Metrics', {}).get('mIoU')
            presets.append(Preset(config.relative_to(root).with_suffix('').as_posix(), config, score, origin))
    return presets


def find_presets(names: Sequence[str]) -> List[Preset]:
    """The presets of ``names``, each once, in the order of the names.

    Args:
        names: ``naclip/naclip_vit-b16_voc20``, its last part alone, the folder of a method (``naclip``: all of its presets),
            a group of data sets (``mess``), or a pattern of these (``'*_voc20'``).

    Raises:
        ValueError: a name fits no preset; names those that are near.
    """
    presets = all_presets()
    chosen: List[Preset] = []
    for name in names:
        pattern = GROUPS.get(name, name)
        found = [preset for preset in presets if any(fnmatchcase(part, pattern) for part in (
            preset.name, preset.config.stem, preset.name.split('/')[0]))]
        if not found:
            known = [part for preset in presets for part in (preset.name, preset.config.stem)]
            near = difflib.get_close_matches(name, known, 3)
            raise ValueError(f'{quoted(name)} is no preset, method, group, or pattern of these; '
                             + (f'near: {", ".join(near)}; ' if near else '') + '`ovseg list configs` lists the presets')
        chosen += [preset for preset in found if preset not in chosen]
    return chosen
