"""Refuse an evaluation whose class list or region maps do not fit its data set, and encode the list for all processes."""
from typing import Any, List

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ovseg.data_check.class_order import order_difference
from ovseg.models.segmentors import CLIPSegmentor
from ovseg.sets import row_of
from ovseg.utils import quoted
from ovseg.vocabulary.diagnosis import diagnose
from ovseg.vocabulary.word_record import word_line, word_record


@HOOKS.register_module()
class VocabularyCheckHook(Hook):
    """Compares the model's classes with the data set's before the first image, and logs which list the model uses.

    Labels are compared by index, so a list of another length, or of the same classes in another order, gives a number
    that means nothing, without any error. The words alone move a score by points: their ``word_record`` stands beside the
    metrics, in the log and in the JSON file of the work directory. Then the main process encodes the names for all. Images
    without a region map, where the model needs them from files, are refused too. Names that the model confuses are warned of,
    see ``diagnose``.
    """

    def before_test(self, runner: Runner) -> None:
        """See ``Hook``.

        Raises:
            FileNotFoundError: a region map that the model needs is missing.
            ValueError: the numbers of classes differ, the same names stand in another order, or background words are to be
                chosen for a data set without a background class.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(model, 'module', model)  # test-time augmentation wraps the segmentor
        dataset = runner.test_dataloader.dataset
        classes = dataset.metainfo['classes']
        if len(classes) != len(model.class_names):
            raise ValueError(
                f'vocabulary.names lists {len(model.class_names)} classes ({_ends(model.class_names)}), but '
                f'{type(dataset).__name__} has {len(classes)} ({_ends(classes)}): their labels would be mixed up')
        difference = order_difference(classes, model.vocabulary.synonyms)
        if difference:
            raise ValueError(f'vocabulary.names lists the classes of {type(dataset).__name__} in another order: {difference}; '
                             f"their labels would be mixed up (the data set's order: {', '.join(map(quoted, classes))})")
        threshold, background = model.decoder.prob_thd, model.decoder.bg_idx
        row = row_of(dict(type=type(dataset), name=getattr(dataset, 'name', '')))
        of_protocol = row is not None and row.decoder.get('prob_thd') == threshold  # as Vaihingen's, whose class 5 is clutter
        if threshold > 0 and 'background' not in classes and not of_protocol:
            print_log(f'decoder.prob_thd={threshold} turns uncertain pixels into class {background} ({classes[background]!r}), '
                      f'but {type(dataset).__name__} has no background class: set decoder.prob_thd=0', 'current', 30)
        if model.vocabulary.background is not None and classes[background] != 'background':
            there = (f'class {background} (decoder.bg_idx) of {type(dataset).__name__} is {classes[background]!r}'
                     if 'background' in classes else f'{type(dataset).__name__} has none')
            raise ValueError(f'vocabulary.background chooses words for a class called background, and {there}')
        if model.image_encoder.regions is not None:
            model.image_encoder.regions.check_images(dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))
        _share_texts(model)
        record = word_record(model.words)
        print_log(f'class list: {word_line(record)}', 'current')
        for key, value in record.items():
            runner.message_hub.update_info(f'test/{key}', value)  # LoggerHook writes what begins with test/
        for line in diagnose(model.words.synonyms, model.text_embeddings):
            print_log(line, 'current', 30)


def _share_texts(segmentor: CLIPSegmentor) -> None:
    """Give all processes the names and text embeddings of the main one; the others neither hash nor run the text tower."""
    texts: List[Any] = [(segmentor.words, segmentor.text_embeddings.cpu()) if is_main_process() else None]
    broadcast_object_list(texts)
    if not is_main_process():
        segmentor.use_texts(*texts[0])


def _ends(names: list) -> str:
    return f'{names[0]!r} … {names[-1]!r}'
