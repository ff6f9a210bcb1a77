import json

import open_clip
import pytest


@pytest.fixture(scope='module')
def register_models(tmp_path_factory):
    """Makes models of open_clip known by name, with their configs, for the tests of a module."""
    folder = tmp_path_factory.mktemp('model_configs')

    def register(configs):
        for name, config in configs.items():
            (folder / f'{name}.json').write_text(json.dumps(config))
        open_clip.add_model_config(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, '_MODEL_CONFIGS', dict(open_clip.factory._MODEL_CONFIGS))
        patch.setattr(open_clip.factory, '_MODEL_CONFIG_PATHS', list(open_clip.factory._MODEL_CONFIG_PATHS))
        yield register
