"""The embedded tiny CLIP: a model config in open_clip's format and weights trained by ``tools/train_tiny_clip.py``."""
from pathlib import Path

CONFIG_FILE = Path(__file__).parent / 'ovseg-tiny-clip.json'
WEIGHTS_FILE = CONFIG_FILE.with_suffix('.safetensors')
MODEL_NAME = CONFIG_FILE.stem
