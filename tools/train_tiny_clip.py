"""Train the embedded tiny CLIP on scenes drawn on the fly: image-caption pairs only, as CLIP is trained.

    python tools/train_tiny_clip.py --work-dir work_dirs/tiny_clip

Every image is a function of (seed, index), so no image is seen twice, a killed run goes on exactly where its last
checkpoint was, and two runs with one seed see the same data.
"""
import argparse
import math
from functools import partial
from pathlib import Path
from typing import Dict, Tuple

import cv2
import numpy as np
import open_clip
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from timm.layers import DropPath
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import ovseg  # noqa: F401  registers the model config with open_clip
from ovseg.demo.scenes import caption, draw_close_up, draw_scene
from ovseg.files import write_whole
from ovseg.models.towers.tiny_clip import MODEL_NAME
from ovseg.models.towers.torch_files import read_torch_file
from ovseg.vocabulary.prompt_templates import prompt_templates

SIZE = 224


class DrawnPairs(Dataset):
    """Image ``index`` and its caption: a close-up of one class or a whole scene, chosen at random by its seed."""

    def __init__(self, length: int, seed: int, close_ups: float) -> None:
        self.length, self.seed, self.close_ups = length, seed, close_ups
        self.tokenizer = open_clip.get_tokenizer(MODEL_NAME)
        self.templates = prompt_templates('imagenet80')

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tuple[Tensor, Tensor, str]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, index))
        draw = draw_close_up if rng.random() < self.close_ups else draw_scene
        scene = draw(rng, SIZE, SIZE)
        text = self.tokenizer([caption(rng, scene.names, self.templates)])[0]
        return torch.from_numpy(scene.image).permute(2, 0, 1), text, ' '.join(scene.names)


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy over the batch; captions that name the same set of things are all positives.

    ``images``, ``texts (B, E)`` unit rows; ``same (B, B)`` bool. With no two captions alike it is CLIP's own loss.
    """
    target = same / same.sum(1, keepdim=True)
    logits = scale * images @ texts.t()
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


class WaitingCLS(torch.nn.Module):
    """Output of a block's attention, with the CLS token's row set to zero in the images whose CLS token waits.

    ``waits`` holds one random choice per image, made before the first block for all blocks.
    """

    def __init__(self, waits: Dict[str, Tensor]) -> None:
        super().__init__()
        self.waits = waits

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        cls_token = x[:, :1].masked_fill(self.waits['image'], 0)
        return torch.cat([cls_token, x[:, 1:]], dim=1)


def regularise(visual: torch.nn.Module, chance: float) -> None:
    """Stochastic depth (Huang et al., 2016) for a shallow ViT, whose patches else hold less information than a large CLIP's.

    In training, the CLS token of some images sees no patch before the last block, and the last MLP is skipped half of the
    time. Without this, a ViT of four blocks collects the information about the image in its CLS token before the last block;
    the values of that block, the only input of segmentation without residual and MLP, then hold little of it.
    """
    waits: Dict[str, Tensor] = {}

    def choose(module: torch.nn.Module, args: Tuple[Tensor, ...]) -> None:
        waits['image'] = torch.rand(len(args[0]), 1, 1, device=args[0].device) < chance

    visual.transformer.register_forward_pre_hook(choose)
    *early, last = visual.transformer.resblocks
    for block in early:
        block.ls_1 = WaitingCLS(waits)
    last.ls_2 = DropPath(0.5)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/tiny_clip'))
    parser.add_argument('--images', type=int, default=250_000, help='images to train on')
    parser.add_argument('--batch-size', type=int, default=192)
    parser.add_argument('--lr', type=float, default=1.5e-3)
    parser.add_argument('--weight-decay', type=float, default=0.1)
    parser.add_argument('--patch-dropout', type=float, default=0.75)
    parser.add_argument('--cls-waits', type=float, default=0.8,
                        help='share of images in which the CLS token sees no patch before the last block')
    parser.add_argument('--close-ups', type=float, default=0.5, help='share of images that one class fills')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args()


def export(model: torch.nn.Module, path: Path, used: Tensor) -> None:
    """Write fp16 weights; rows of tokens that no caption can contain are zeroed, so that they compress to nothing."""
    state = {key: value.detach().half().cpu().contiguous() for key, value in model.state_dict().items()}
    state['token_embedding.weight'] = state['token_embedding.weight'] * used[:, None].half()
    write_whole(path, partial(save_file, state))


def main() -> None:
    args = parse_args()
    torch.manual_seed(args.seed)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    model = open_clip.create_model(MODEL_NAME, force_patch_dropout=args.patch_dropout).to(args.device).train()
    regularise(model.visual, args.cls_waits)
    mean, std = (torch.tensor(x, device=args.device).view(3, 1, 1) * 255
                 for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    steps = args.images // args.batch_size
    optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=args.weight_decay),
                                   dict(params=others, weight_decay=0.)], lr=args.lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=steps, pct_start=0.1)
    used = torch.zeros(model.vocab_size, dtype=torch.bool)

    checkpoint, start = args.work_dir / 'last.pth', 0
    if checkpoint.exists():
        saved = read_torch_file(checkpoint)
        if saved['args'] != (given := {k: str(v) for k, v in vars(args).items()}):
            raise SystemExit(f'{checkpoint} was made with {saved["args"]}, not with {given}: choose another --work-dir')
        for part, key in ((model, 'model'), (optimizer, 'optimizer'), (schedule, 'schedule')):
            part.load_state_dict(saved[key])
        used, start = saved['used'].cpu(), saved['step']
        torch.set_rng_state(saved['rng'].cpu())
    pairs = DrawnPairs(steps * args.batch_size, args.seed, args.close_ups)
    loader = DataLoader(pairs, args.batch_size, sampler=range(start * args.batch_size, len(pairs)),
                        num_workers=args.workers, prefetch_factor=2 if args.workers else None,
                        generator=torch.Generator())  # its own, so that starting a loader leaves the restored one alone

    columns = (TextColumn('step'), MofNCompleteColumn(), BarColumn(), TextColumn('loss {task.fields[loss]:.3f}'),
               TimeRemainingColumn())
    with Progress(*columns) as progress, open(args.work_dir / 'training.log', 'a') as log:
        bar = progress.add_task('train', total=steps, completed=start, loss=math.nan)
        for step, (batch, texts, names) in enumerate(loader, start + 1):
            used[texts.unique()] = True
            same = torch.tensor([[a == b for a in names] for b in names], device=args.device)
            with torch.autocast(args.device, torch.bfloat16):
                images = model.encode_image((batch.to(args.device) - mean) / std, normalize=True)
                captions = model.encode_text(texts.to(args.device), normalize=True)
            loss = contrastive_loss(images.float(), captions.float(), model.logit_scale.exp(), same)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            if step % 20 == 0 or step == steps:
                progress.update(bar, completed=step, loss=loss.item())
                print(f'step {step}/{steps} images {step * args.batch_size} loss {loss.item():.4f} '
                      f'scale {model.logit_scale.exp().item():.2f} lr {schedule.get_last_lr()[0]:.2e}', file=log, flush=True)
            if step % 100 == 0 or step == steps:
                state = dict(model=model.state_dict(), optimizer=optimizer.state_dict(), schedule=schedule.state_dict(),
                             used=used, step=step, rng=torch.get_rng_state(), args={k: str(v) for k, v in vars(args).items()})
                write_whole(checkpoint, partial(torch.save, state))
    export(model, args.work_dir / f'{MODEL_NAME}.safetensors', used)
    print(f'wrote {args.work_dir / MODEL_NAME}.safetensors')


if __name__ == '__main__':
    main()
