"""Class names, their synonyms, and the sentences that they are put into."""
from ovseg.vocabulary.class_lists import bundled_class_lists, read_class_list
from ovseg.vocabulary.prompt_templates import prompt_templates
from ovseg.vocabulary.vocabulary import Vocabulary

__all__ = ['Vocabulary', 'bundled_class_lists', 'prompt_templates', 'read_class_list']
