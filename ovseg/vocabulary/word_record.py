"""The record of words that belongs to a result: which class list, templates and background words it was made with."""
from typing import Any, Dict, Mapping

from ovseg.digests import class_list_digest
from ovseg.utils import quoted
from ovseg.vocabulary.class_lists import vocabulary_name
from ovseg.vocabulary.vocabulary import Vocabulary

SHOWN = 12  # digits of a checksum in one line


def word_record(words: Vocabulary) -> Dict[str, Any]:
    """Names, numbers and checksum of a vocabulary, as JSON holds them.

    Args:
        words: The vocabulary that a model uses, with its automatic background words (``CLIPSegmentor.words``).

    Returns:
        ``class_list``, the bundled list's name, the file's path as given, or ``'custom'``; ``class_count`` K and
        ``name_count`` Q; ``class_list_sha256``, the ``class_list_digest`` of all names, background words included;
        ``templates``, the bundled set's name, the file's path as given, or ``'custom'``; ``template_count``; and
        ``background_words``, the list of those that were chosen automatically.
    """
    return dict(class_list=vocabulary_name(words.names), class_count=len(words.synonyms), name_count=len(words.all_names),
                class_list_sha256=class_list_digest(words.synonyms),
                templates=words.templates if isinstance(words.templates, str) else 'custom',
                template_count=len(words.sentences), background_words=list(words.background_words))


def word_line(record: Mapping[str, Any]) -> str:
    """A ``word_record`` in one line, with the number of background words in place of the words."""
    background = len(record['background_words'])
    return (f'{quoted(record["class_list"])} ({record["class_count"]} classes, {record["name_count"]} names'
            + (f', {background} of them automatic background words' if background else '')
            + f', sha256 {record["class_list_sha256"][:SHOWN]}), templates {quoted(record["templates"])} '
            f'({record["template_count"]})')
