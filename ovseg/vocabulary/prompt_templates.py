"""Prompt templates: sentences with one ``{}`` for the class name."""
from typing import Dict, Sequence, Tuple, Union

from ovseg.utils import shown

# The 80 prompts that CLIP was evaluated with on ImageNet (Radford et al., 2021), used by every method of this field.
_IMAGENET80 = tuple(line.strip() for line in """
    a bad photo of a {}.
    a photo of many {}.
    a sculpture of a {}.
    a photo of the hard to see {}.
    a low resolution photo of the {}.
    a rendering of a {}.
    graffiti of a {}.
    a bad photo of the {}.
    a cropped photo of the {}.
    a tattoo of a {}.
    the embroidered {}.
    a photo of a hard to see {}.
    a bright photo of a {}.
    a photo of a clean {}.
    a photo of a dirty {}.
    a dark photo of the {}.
    a drawing of a {}.
    a photo of my {}.
    the plastic {}.
    a photo of the cool {}.
    a close-up photo of a {}.
    a black and white photo of the {}.
    a painting of the {}.
    a painting of a {}.
    a pixelated photo of the {}.
    a sculpture of the {}.
    a bright photo of the {}.
    a cropped photo of a {}.
    a plastic {}.
    a photo of the dirty {}.
    a jpeg corrupted photo of a {}.
    a blurry photo of the {}.
    a photo of the {}.
    a good photo of the {}.
    a rendering of the {}.
    a {} in a video game.
    a photo of one {}.
    a doodle of a {}.
    a close-up photo of the {}.
    a photo of a {}.
    the origami {}.
    the {} in a video game.
    a sketch of a {}.
    a doodle of the {}.
    a origami {}.
    a low resolution photo of a {}.
    the toy {}.
    a rendition of the {}.
    a photo of the clean {}.
    a photo of a large {}.
    a rendition of a {}.
    a photo of a nice {}.
    a photo of a weird {}.
    a blurry photo of a {}.
    a cartoon {}.
    art of a {}.
    a sketch of the {}.
    a embroidered {}.
    a pixelated photo of a {}.
    itap of the {}.
    a jpeg corrupted photo of the {}.
    a good photo of a {}.
    a plushie {}.
    a photo of the nice {}.
    a photo of the small {}.
    a photo of the weird {}.
    the cartoon {}.
    art of the {}.
    a drawing of the {}.
    a photo of the large {}.
    a black and white photo of a {}.
    the plushie {}.
    a dark photo of a {}.
    itap of a {}.
    graffiti of the {}.
    a toy {}.
    itap of my {}.
    a photo of a cool {}.
    a photo of a small {}.
    a tattoo of the {}.
""".strip().splitlines())

# The seven of them that the CLIP authors found to be nearly as good.
_IMAGENET7 = ('itap of a {}.', 'a bad photo of the {}.', 'a origami {}.', 'a photo of the large {}.',
              'a {} in a video game.', 'art of the {}.', 'a photo of the small {}.')

PROMPT_TEMPLATES: Dict[str, Tuple[str, ...]] = dict(imagenet80=_IMAGENET80, imagenet7=_IMAGENET7,
                                                    plain=('a photo of a {}.',))


def prompt_templates(templates: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    """The sentences of a bundled set, or a list of sentences as it was given.

    Raises:
        ValueError: an unknown set (the known ones are listed), an empty list, or a sentence without exactly one ``{}``.
    """
    if isinstance(templates, str):
        if templates not in PROMPT_TEMPLATES:
            raise ValueError(f'vocabulary.templates={shown(templates)} is not a bundled set ({", ".join(PROMPT_TEMPLATES)}); '
                             'give one of these or a list of sentences with one {} each')
        return PROMPT_TEMPLATES[templates]
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
