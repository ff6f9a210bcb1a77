"""A tiny random CLIP as transformers saves it, with its own embeddings of random inputs; needs transformers.

Run `python tests/data/transformers_clip/make.py` to write the files beside this one.
"""
from pathlib import Path

import numpy as np
import torch

OPEN_CLIP = dict(embed_dim=13, vision_cfg=dict(layers=3, width=10, head_width=5, image_size=21, patch_size=7),
                 text_cfg=dict(context_length=11, vocab_size=53, width=14, heads=7, layers=2))
MEAN, STD = [0.17, 0.19, 0.23], [0.29, 0.31, 0.37]


def make_model(hidden_act, eos_token_id, seed=0):
    """A ``CLIPModel`` with the sizes of ``OPEN_CLIP`` and random weights, biases and positions, of deviation 0.5."""
    from transformers import CLIPConfig, CLIPModel
    vision = dict(hidden_size=10, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2, image_size=21, patch_size=7,
                  hidden_act=hidden_act)
    text = dict(vocab_size=53, hidden_size=14, intermediate_size=56, num_hidden_layers=2, num_attention_heads=7,
                max_position_embeddings=11, hidden_act=hidden_act, bos_token_id=51, eos_token_id=eos_token_id)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=13)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = float('norm' in name and name.endswith('weight'))
            parameter.copy_(mean + 0.5 * torch.randn(parameter.shape, generator=generator))
    return model


def make_inputs(seed=0):
    """Images ``(2, 3, 21, 21)`` and token ids ``(5, 11)``, each text ended by 52 and filled up with zeros."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(3, 51, (5, 11))
    for row, length in zip(ids, (11, 2, 5, 3, 7)):
        row[0], row[length - 1], row[length:] = 51, 52, 0
    return generator.standard_normal((2, 3, 21, 21)).astype('float32'), ids


def embeddings(model, images, ids):
    """Output of transformers: image embeddings ``(2, 13)`` and text embeddings ``(5, 13)``."""
    with torch.no_grad():
        found = (model.get_image_features(torch.from_numpy(images)), model.get_text_features(torch.from_numpy(ids)))
    return [getattr(output, 'pooler_output', output).numpy() for output in found]  # tensors before transformers 5


def main():
    from transformers import CLIPImageProcessor
    folder = Path(__file__).parent
    model = make_model('quick_gelu', 52)
    model.save_pretrained(folder)
    CLIPImageProcessor(image_mean=MEAN, image_std=STD).save_pretrained(folder)
    images, ids = make_inputs()
    image_embeddings, text_embeddings = embeddings(model, images, ids)
    np.savez(folder / 'expected.npz', images=images, ids=ids, image_embeddings=image_embeddings,
             text_embeddings=text_embeddings)


if __name__ == '__main__':
    main()
