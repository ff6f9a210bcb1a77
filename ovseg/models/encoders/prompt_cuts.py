"""Prompts that are longer than CLIP's context."""
from typing import Callable, Sequence

from mmengine.logging import print_log
from torch import Tensor


def warn_of_cuts(names: Sequence[str], templates: Sequence[str], tokenizer: Callable[..., Tensor]) -> None:
    """Log a warning for each name that the tokenizer cuts, with the longest of its prompts and the place of the cut.

    Args:
        names: Class names.
        templates: Sentences with one ``{}``.
        tokenizer: An open_clip tokenizer: strings, and perhaps a context length, to ids ``(n, context_length)``.
    """
    padding = tokenizer([''])[0, -2]  # the last id ends the sentence in some tokenizers
    longest = templates[int((tokenizer(list(templates)) != padding).sum(dim=1).argmax())]
    prompts = [longest.format(name) for name in names]
    ids = tokenizer(prompts)
    context_length = ids.shape[1]

    def is_kept(text: str) -> bool:
        tokens, more_tokens = ((tokenizer([text], length) != padding).sum() for length in (context_length, 2 * context_length))
        return bool(tokens == more_tokens)

    for index in (ids[:, -2] != padding).nonzero().flatten().tolist():  # the others have room to spare
        prompt = prompts[index]
        if not is_kept(prompt):
            kept = prompt[:_first_failure(prompt, is_kept) - 1]
            print_log(f'CLIP reads {context_length} tokens, too few for a prompt of {names[index]!r}: it sees {kept!r} and not '
                      f'{prompt[len(kept):]!r}', 'current', 30)


def _first_failure(text: str, is_kept: Callable[[str], bool]) -> int:
    """The length of the shortest beginning of ``text`` that is not kept, by bisection."""
    good, bad = 0, len(text)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_kept(text[:middle]) else (good, middle)
    return bad
