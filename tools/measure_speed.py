"""Measure the speed of ovseg as ratios in one run, candidates in turn.

    python tools/measure_speed.py                                   the embedded tiny CLIP on the CPU
    python tools/measure_speed.py --scenario cpu --baseline loop    ViT-B/16 with random weights, as in docs/performance.md
    python tools/measure_speed.py --scenario cuda --baseline loop
    python tools/measure_speed.py --scenario cpu --sweep plots      scaling with area, vocabulary, windows, batch and ranks
    python tools/measure_speed.py --scenario cpu --profile          the ten slowest operations of a prediction
"""
import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, Iterator, List

import torch
from rich.console import Console
from speed import throughput, workloads
from speed.methods import memory_by_method, methods
from speed.timing import Group, Row, in_fresh_process, measure

import ovseg
from ovseg.files import write_figure, write_text
from ovseg.program import errors_as_lines
from ovseg.tables import markdown_table, terminal_table
from ovseg.utils import check_integer

GROUPS = ('job', 'methods', 'words', 'disk', 'precision', 'decode', 'modules', 'text', 'start', 'command', 'compile', 'export',
          'evaluation', 'memory', 'labels', 'host', 'loading')
COLUMNS = ('what', 'candidate', 'sizes', 'precision', 'rounds', 'median s', 'images/s', 'ratio', 'peak MB')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scenario', choices=['cpu-small', 'cpu', 'cuda'], default='cpu-small')
    parser.add_argument('--only', nargs='+', choices=GROUPS, default=GROUPS, help='what to measure (default: all)')
    parser.add_argument('--rounds', type=int, default=7, help='how often each candidate runs, in turn')
    parser.add_argument('--baseline', choices=['loop'], help='measure the straightforward one-window-at-a-time path too')
    parser.add_argument('--images', type=int, default=200, help='number of images of an evaluation')
    parser.add_argument('--json', type=Path, help='write rows and machine to this file')
    parser.add_argument('--markdown', type=Path, help='write the table to this file')
    parser.add_argument('--sweep', type=Path, metavar='FOLDER', help='measure scaling instead; a plot each, and sweeps.json')
    parser.add_argument('--profile', action='store_true', help='show the ten slowest operations of a prediction instead')
    return parser.parse_args()


def groups(args: argparse.Namespace, clip_model: str, device: str) -> Iterator[Group]:
    """The groups of a scenario, each built when its turn has come."""
    wanted = set(args.only)
    if 'job' in wanted:
        precision, images, batch_size = ('fp16', 16, 96) if device == 'cuda' else ('fp32', 1, 32)
        yield from workloads.whole_job(clip_model, device, precision, args.baseline, images, batch_size)
    if 'methods' in wanted:
        precision = 'fp16' if device == 'cuda' else 'fp32'
        yield from methods(clip_model, device, precision, args.baseline, args.scenario == 'cpu-small')
    if 'words' in wanted:
        yield workloads.vocabularies(clip_model, device, 'fp16' if device == 'cuda' else 'fp32')
    if 'disk' in wanted:
        with TemporaryDirectory() as folder:
            yield workloads.label_map_on_disk(clip_model, device, Path(folder))
    if 'precision' in wanted:
        yield workloads.precisions(clip_model, device)
    if 'decode' in wanted:
        yield workloads.decoding(device)
    if 'modules' in wanted:
        yield from workloads.modules(clip_model, device, windows=16)
    if 'text' in wanted:
        yield from workloads.text(clip_model, device)
    if 'start' in wanted:
        yield workloads.start_up()
    if 'command' in wanted:
        with TemporaryDirectory() as folder:
            yield workloads.command_start(Path(folder))
    precisions = ('fp16', 'bf16') if device == 'cuda' else ('fp32', 'bf16')
    if 'compile' in wanted:
        for precision in precisions:
            yield throughput.compiled(clip_model, device, precision)
    if 'evaluation' in wanted:
        for precision in precisions:
            with TemporaryDirectory() as folder:
                throughput.write_dataset(Path(folder), args.images)
                yield throughput.evaluation(clip_model, device, precision, Path(folder), args.baseline)
    if 'export' in wanted:
        with TemporaryDirectory() as folder:
            yield workloads.exported(clip_model, Path(folder))


def machine(clip_model: str, device: str) -> Dict[str, Any]:
    processor = torch.cuda.get_device_name() if device == 'cuda' else f'{platform.machine()}, {torch.get_num_threads()} threads'
    return dict(model=f'{clip_model}, random weights', device=device, processor=processor, torch=torch.__version__,
                python=platform.python_version(), ovseg=ovseg.__version__)


def cells(row: Row) -> List[str]:
    return [row.what, row.candidate, row.sizes, row.precision, str(row.rounds), f'{row.median_s:.4f}',
            '' if row.images_per_s is None else f'{row.images_per_s:.2f}', f'{row.ratio:.3f}',
            '' if row.peak_mb is None else f'{row.peak_mb:.0f}']


def profile(clip_model: str, device: str) -> None:
    model = workloads.build(clip_model, device, 171)
    image = torch.randn(3, *workloads.IMAGE, device=device)
    workloads.original_size(model, [image], workloads.OUTPUT)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device == 'cuda':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as record:
        workloads.original_size(model, [image], workloads.OUTPUT)
    print(record.key_averages().table(sort_by=f'self_{device}_time_total', row_limit=10))


def sweep(clip_model: str, device: str, folder: Path, about: Dict[str, Any]) -> None:
    from matplotlib.figure import Figure
    folder.mkdir(parents=True, exist_ok=True)
    figures = workloads.sweeps(clip_model, device)
    for name, (axis, unit, points) in figures.items():
        figure = Figure(figsize=(5, 3.4), dpi=130, layout='constrained')
        plot = figure.subplots()
        plot.plot(list(points), list(points.values()), marker='o', color='#0072B2')
        plot.set(xlabel=axis, ylabel=unit, title=f'{about["model"]}, {about["device"]}')
        if name == 'vocabulary':
            plot.set(xscale='log', yscale='log')
        else:
            plot.set_ylim(0, 1.1 * max(points.values()))
        plot.set_xticks(list(points), [f'{point:,}' for point in points])
        plot.minorticks_off()
        plot.grid(alpha=0.3)
        write_figure(figure, folder / f'{name}.png')
    write_text(folder / 'sweeps.json', json.dumps(dict(machine=about, sweeps=figures), indent=1))
    print(f'plots and sweeps.json are in {folder}')


@torch.no_grad()
def main() -> None:
    args = parse_args()
    check_integer('--rounds', args.rounds, 1)
    check_integer('--images', args.images, len(throughput.SIZES))
    clip_model = workloads.MODELS['small' if args.scenario == 'cpu-small' else 'full']
    device = 'cuda' if args.scenario == 'cuda' else 'cpu'
    if device == 'cuda' and not torch.cuda.is_available():
        sys.exit('--scenario cuda: this machine has no CUDA device')
    about = machine(clip_model, device)
    if args.profile:
        return profile(clip_model, device)
    if args.sweep:
        return sweep(clip_model, device, args.sweep, about)
    rows: List[Row] = []
    for group in groups(args, clip_model, device):
        rows += measure(group, args.rounds, device)
    title = ', '.join(f'{key}: {value}' for key, value in about.items())
    Console(width=None if sys.stdout.isatty() else 200).print(terminal_table(COLUMNS, map(cells, rows), title))
    probes: Dict[str, Any] = {}
    if 'memory' in args.only:
        probes.update(peak_mb_by_queries=workloads.memory_by_vocabulary(),
                      peak_mb_by_size=workloads.memory_by_size(),
                      peak_mb_by_method=memory_by_method(),
                      growth_mb_over_270_images=in_fresh_process(workloads.resident_growth),
                      growth_mb_over_980_sizes=in_fresh_process(workloads.geometry_growth))
    if 'labels' in args.only:
        probes.update(labels_as_in_fp32=workloads.label_agreement(device))
    if 'host' in args.only:
        probes.update(host_per_image={classes: throughput.host_cost(clip_model, classes) for classes in (21, 171, 847)})
    if 'loading' in args.only:
        with TemporaryDirectory() as folder:
            throughput.write_dataset(Path(folder), 40)
            probes.update(images_loaded_per_s_and_core=in_fresh_process(throughput.images_loaded_per_second, Path(folder)))
    if probes:
        print(json.dumps(probes))
    if args.json:
        write_text(args.json, json.dumps(dict(machine=about, rows=list(map(asdict, rows)), probes=probes), indent=1))
    if args.markdown:
        write_text(args.markdown, f'{title}\n\n{markdown_table(COLUMNS, map(cells, rows))}')


if __name__ == '__main__':
    with errors_as_lines('tools/measure_speed.py'):
        main()
