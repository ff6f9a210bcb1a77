"""What the modules cost, as ratios measured in one run, candidates in turn.

    python tools/benchmark.py                       (ViT-B/16 with random weights, 16 windows of 224x224)
    python tools/benchmark.py --json benchmark.json --device cuda
"""
import argparse
import json
import platform
import statistics
import time
from typing import Any, Callable, Dict, List

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import ovseg
from ovseg.models import CLIPSegmentor, DenseFeatures
from ovseg.models.post_processors import CTD, OutlierSuppression, PostProcessorChain
from ovseg.models.post_processors.outlier_suppression import grid_neighbours

ALL = [dict(type='SelfAttnEnhancement'), dict(type='OutlierSuppression'), dict(type='GlobalDebias', factor=0.2),
       dict(type='CTD')]


def loop_outlier_suppression(features: DenseFeatures, top_k: int = 30, temp: float = 0.1, eps: float = 1e-8) -> Tensor:
    """The formula as one would write it first: one window, one patch, one neighbour at a time."""
    neighbours = [row.nonzero().flatten().tolist() for row in grid_neighbours(features.grid_size, torch.device('cpu'))]
    result = features.patches.clone()
    for window, (patches, attn) in enumerate(zip(features.patches, features.attn)):
        ratio = attn[0, 1:] / (attn.diagonal()[1:] + eps)
        outliers = set(ratio.topk(min(top_k, len(patches))).indices.tolist())
        for i in outliers:
            near = patches[neighbours[i]]
            similarity = F.cosine_similarity(patches[i:i + 1], near)
            result[window, i] = (1 - similarity).softmax(0) @ near
            for j, value in zip(neighbours[i], similarity):
                if j not in outliers:
                    result[window, j] -= temp * value * patches[i]
    return result


def sklearn_clusters(embeddings: Tensor, ctd: CTD) -> List[Any]:
    """scikit-learn's DBSCAN, one window at a time."""
    from sklearn.cluster import DBSCAN
    return [DBSCAN(eps=ctd.eps, min_samples=ctd.min_samples, metric=ctd.metric).fit_predict(window)
            for window in F.normalize(embeddings, dim=-1).cpu().numpy()]


def in_turn(candidates: Dict[str, Callable[[], Any]], repeats: int, device: str) -> Dict[str, List[float]]:
    """Seconds of every candidate, A B C A B C ..., after one round that does not count."""
    seconds: Dict[str, List[float]] = {name: [] for name in candidates}
    for counts in [False] + [True] * repeats:
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            if device.startswith('cuda'):
                torch.cuda.synchronize()
            if counts:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(args: argparse.Namespace) -> List[Dict[str, Any]]:
    model = CLIPSegmentor('ViT-B-16-quickgelu', None, ['a', 'b'], model_type='Gated', apply_similarity_enhancement=True)
    model = model.to(args.device)
    windows = torch.randn(args.windows, 3, 224, 224, device=args.device)
    chains = dict(none=PostProcessorChain(), all=PostProcessorChain(ALL), ctd=PostProcessorChain([dict(type='CTD')]))

    def extract(name: str) -> DenseFeatures:
        model.post_processors = chains[name]
        return model.extract_feat(windows)

    tokens = model.image_encoder.tokens(windows, with_attention=True)
    embeddings = model.image_encoder.project(tokens)
    suppress, ctd = OutlierSuppression(), CTD()
    groups = [
        dict(none=lambda: extract('none'), all=lambda: extract('all'), ctd=lambda: extract('ctd')),
        dict(loop=lambda: loop_outlier_suppression(tokens), batched=lambda: suppress(tokens)),
        dict(sklearn=lambda: sklearn_clusters(embeddings.patches, ctd), batched=lambda: ctd.cluster(embeddings.patches)),
    ]
    titles = ['encoder and post-processors', 'outlier suppression', 'DBSCAN']
    rows = []
    for title, group in zip(titles, groups):
        times = in_turn(group, args.repeats, args.device)
        first = next(iter(times.values()))
        for name, seconds in times.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, first))
            rows.append(dict(what=title, candidate=name, seconds=statistics.median(seconds), runs=args.repeats,
                             ratio_to_first=ratio))
    return rows


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--windows', type=int, default=16)
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--json', help='write the rows to this file')
    args = parser.parse_args()
    rows = measure(args)
    machine = dict(torch=torch.__version__, ovseg=ovseg.__version__, device=args.device, threads=torch.get_num_threads(),
                   processor=torch.cuda.get_device_name() if args.device.startswith('cuda') else platform.machine(),
                   model='ViT-B-16, random weights', windows=f'{args.windows} x 224x224', precision='fp32')
    table = Table('what', 'candidate', 'median s', 'ratio to first', title=', '.join(f'{k}: {v}' for k, v in machine.items()))
    for row in rows:
        table.add_row(row['what'], row['candidate'], f'{row["seconds"]:.4f}', f'{row["ratio_to_first"]:.3f}')
    Console().print(table)
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(dict(machine=machine, rows=rows), file, indent=1)


if __name__ == '__main__':
    main()
