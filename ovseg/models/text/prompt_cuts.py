"""Prompts that are longer than CLIP's context."""
import logging
from typing import Callable, Sequence

from mmengine.logging import MMLogger, print_log
from mmengine.logging.logger import FilterDuplicateWarning
from torch import Tensor

MOST_SPECIAL_TOKENS = 5  # start, class, separator and end, and a space that some tokenizers put in front


def warn_of_cuts(names: Sequence[str], templates: Sequence[str], tokenizer: Callable[..., Tensor]) -> None:
    """Log a warning for each name that the tokenizer cuts, with the longest of its prompts and the place of the cut.

    Only names that may be too long are tokenised. The same names are warned of at each call.

    Args:
        names: Class names.
        templates: Sentences with one ``{}``.
        tokenizer: An open_clip tokenizer: strings, and perhaps a context length, to ids ``(n, context_length)``.
    """
    empty = tokenizer([''])
    context_length, padding = empty.shape[1], empty[0, -2]  # the last id ends the sentence in some tokenizers
    room = context_length - MOST_SPECIAL_TOKENS - max(map(most_tokens, templates))
    names = [name for name in names if most_tokens(name) > room]
    if not names:
        return
    longest = templates[int((tokenizer(list(templates)) != padding).sum(dim=1).argmax())]
    prompts = [longest.format(name) for name in names]
    ids = tokenizer(prompts)

    def is_kept(text: str) -> bool:
        tokens, more_tokens = ((tokenizer([text], length) != padding).sum() for length in (context_length, 2 * context_length))
        return bool(tokens == more_tokens)

    for index in (ids[:, -2] != padding).nonzero().flatten().tolist():  # the others end before the last token
        prompt = prompts[index]
        if not is_kept(prompt):
            kept = prompt[:_first_failure(prompt, is_kept) - 1]
            _warn(f'CLIP reads {context_length} tokens, too few for a prompt of {names[index]!r}: it sees {kept!r} and not '
                  f'{prompt[len(kept):]!r}')


def most_tokens(text: str) -> int:
    """The largest number of tokens that a tokenizer may make of ``text``, without special ones.

    A token stands for at least a byte, and normalisation (NFC, lower case) at most triples the bytes of other letters than
    ASCII's.
    """
    return len(text) if text.isascii() else 3 * len(text.encode())


def _warn(message: str) -> None:
    """Log a warning, even where mmengine's handlers, which show equal warnings once per process, have shown it."""
    for handler in MMLogger.get_current_instance().handlers:
        for each in handler.filters:
            if isinstance(each, FilterDuplicateWarning):
                each.seen.discard(message)
    print_log(message, 'current', logging.WARNING)


def _first_failure(text: str, is_kept: Callable[[str], bool]) -> int:
    """The length of the shortest beginning of ``text`` that is not kept, by bisection."""
    good, bad = 0, len(text)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_kept(text[:middle]) else (good, middle)
    return bad
