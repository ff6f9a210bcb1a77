"""Data sets, class lists and prompt templates that mmseg lacks, and the demo's scenes."""
from ovseg.datasets.class_lists import bundled_class_lists, class_names
from ovseg.datasets.demo_scenes_dataset import DemoScenesDataset
from ovseg.datasets.loading import LoadImage
from ovseg.datasets.main_texture_dataset import MainTextureDataset
from ovseg.datasets.prompt_templates import prompt_templates

__all__ = ['DemoScenesDataset', 'LoadImage', 'MainTextureDataset', 'bundled_class_lists', 'class_names', 'prompt_templates']
