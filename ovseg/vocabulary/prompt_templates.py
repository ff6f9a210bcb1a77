"""Prompt templates: sentences with one ``{}`` for the class name."""
import os
from typing import Dict, Sequence, Tuple, Union

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from ovseg.utils import read_small_text, shown

PROMPT_TEMPLATES: Dict[str, Tuple[str, ...]] = {
    # the prompts that CLIP was evaluated with on ImageNet (Radford et al., 2021), used by every method of this field
    'imagenet80': tuple(template('{}') for template in OPENAI_IMAGENET_TEMPLATES),
    # the seven of them that the CLIP authors found to be nearly as good
    'imagenet7': tuple(template('{}') for template in SIMPLE_IMAGENET_TEMPLATES),
    'plain': ('a photo of a {}.',)}

LARGEST_FILE = 2 ** 20  # bytes


def prompt_templates(templates: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    """The sentences of a bundled set, of a text file with one per line, or of a list.

    Raises:
        ValueError: an unknown set (the known ones are listed) that is no file either, an empty list, or a sentence
            without exactly one ``{}``.
    """
    if isinstance(templates, str):
        if templates in PROMPT_TEMPLATES:
            return PROMPT_TEMPLATES[templates]
        if not os.path.isfile(templates):
            raise ValueError(f'vocabulary.templates={shown(templates)} is neither a bundled set '
                             f'({", ".join(PROMPT_TEMPLATES)}) nor a file; give one of these or a list of sentences with one '
                             '{} each')
        lines = read_small_text('templates file', templates, LARGEST_FILE).splitlines()
        templates = [line.strip() for line in lines if line.strip()]
    if not isinstance(templates, (list, tuple)):
        raise ValueError(f'vocabulary.templates={shown(templates)} must be a bundled set ({", ".join(PROMPT_TEMPLATES)}) or a '
                         'list of sentences with one {} each')
    if not templates:
        raise ValueError('vocabulary.templates=[] is empty: give at least one sentence with a {} in it')
    for template in templates:
        if not isinstance(template, str) or [c for c in template if c in '{}'] != ['{', '}'] or '{}' not in template:
            raise ValueError(f'vocabulary.templates: {shown(template)} must be a sentence with exactly one {{}} for '
                             'the class name')
    return tuple(templates)
