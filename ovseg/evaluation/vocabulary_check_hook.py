"""Refuse an evaluation whose class list does not fit its data set."""
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS


@HOOKS.register_module()
class VocabularyCheckHook(Hook):
    """Compares the model's classes with the data set's before the first image.

    Labels are compared by index, so a list of another length, or of the same classes in another order, gives a number
    that means nothing, without any error.
    """

    def before_test(self, runner: Runner) -> None:
        """See ``Hook``.

        Raises:
            ValueError: the numbers of classes differ, or the same names stand in another order.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model = getattr(model, 'module', model)  # test-time augmentation wraps the segmentor
        dataset = runner.test_dataloader.dataset
        classes = dataset.metainfo['classes']
        if len(classes) != len(model.class_names):
            raise ValueError(
                f'name_path lists {len(model.class_names)} classes ({_ends(model.class_names)}), but '
                f'{type(dataset).__name__} has {len(classes)} ({_ends(classes)}): their labels would be mixed up')
        places = {name.casefold(): index for index, name in enumerate(classes)}
        if any(places.get(name.casefold(), index) != index for index, name in enumerate(model.class_names)):
            raise ValueError(f"name_path lists the classes of {type(dataset).__name__} in another order: their labels would be "
                             f"mixed up (the data set's order: {', '.join(classes)})")
        if model.prob_thd > 0 and 'background' not in classes:
            print_log(f'prob_thd={model.prob_thd} turns uncertain pixels into class {model.bg_idx} '
                      f'({classes[model.bg_idx]!r}), but {type(dataset).__name__} has no background class: set prob_thd=0',
                      'current', 30)


def _ends(names: list) -> str:
    return f'{names[0]!r} … {names[-1]!r}'
