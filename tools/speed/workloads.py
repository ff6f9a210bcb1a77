"""The workloads: groups of candidates for one machine, and probes of memory and start-up that need a process each."""
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple
from unittest.mock import patch

import numpy as np
import torch
from mmseg.structures import SegDataSample
from speed.references import loop_decode, loop_outlier_suppression, loop_predict, sklearn_clusters
from speed.timing import Group, in_fresh_process, in_turn, peak_memory_mb
from torch import Tensor
from torch.nn import functional as F

from ovseg.ablation.settings import Setting
from ovseg.ablation.sharing import SettingsModel
from ovseg.apis import OVSegInferencer
from ovseg.datasets.demo_scenes_dataset import DEMO_SCENES
from ovseg.evaluation.areas import class_areas
from ovseg.evaluation.label_maps import write_label_map
from ovseg.export.onnx_file import drawn_images, labels_of_torch, write_onnx
from ovseg.extras import needed
from ovseg.inference.decode import best_texts
from ovseg.inference.windows import WindowLayout
from ovseg.models import CLIPSegmentor
from ovseg.models.dense import project
from ovseg.models.post_processors import CTD, OutlierSuppression, PostProcessorChain
from ovseg.models.text.text_encoder import TextEncoder
from ovseg.models.towers import load_clip
from ovseg.resources import config_file
from ovseg.vocabulary import prompt_templates, read_class_list

MODELS = {'small': 'ovseg-tiny-clip', 'full': 'ViT-B-16-quickgelu'}
IMAGE, OUTPUT = (336, 448), (480, 640)  # six windows of 224, 112 apart
ALL = [dict(type='SelfAttnEnhancement'), dict(type='OutlierSuppression'), dict(type='GlobalDebias', factor=0.2),
       dict(type='CTD')]


def build(clip_model: str, device: str, classes: int, precision: str = 'fp32', batch_size: int = 32) -> CLIPSegmentor:
    """Our method with random weights, and random unit rows in place of text embeddings."""
    model = CLIPSegmentor(
        clip=dict(name=clip_model, pretrained=None),
        vocabulary=dict(names=[f'thing {index}' for index in range(classes)], templates=['{}']),
        image_encoder=dict(attention='Gated', similarity={}, precision=precision),
        windows=dict(batch_size=batch_size)).to(device)
    model.text_embeddings = unit_rows(classes, model.tower.output_width)
    return model


def unit_rows(count: int, width: int) -> Tensor:
    """Random rows of length 1, in place of text embeddings."""
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(1)), dim=-1)


def original_size(model: CLIPSegmentor, images: List[Tensor], out_size: Tuple[int, int]) -> List[Any]:
    return model.predict(images, [SegDataSample(metainfo=dict(ori_shape=out_size)) for _ in images])


def whole_job(clip_model: str, device: str, precision: str, baseline: Optional[str], images: int,
              batch_size: int) -> Iterator[Group]:
    """Image to labels over the plain ViT's forward of the same windows in one batch."""
    for classes in (21, 150, 171):
        model = build(clip_model, device, classes, precision=precision, batch_size=batch_size)
        batch = [torch.randn(3, *IMAGE, device=device) for _ in range(images)]
        layout = WindowLayout.plan(IMAGE, 224, 112, model.tower.patch_size)
        visual = model.tower.visual
        windows = torch.cat([layout.cut(image) for image in batch]).to(visual.conv1.weight.dtype)

        def plain(visual: Any = visual, windows: Tensor = windows) -> None:
            for part in windows.split(batch_size):
                visual(part)

        candidates: Dict[str, Callable[[], Any]] = {'plain ViT forward': plain,
                                                    'ovseg predict': partial(original_size, model, batch, OUTPUT)}
        if baseline == 'loop':
            candidates['loop, one window at a time'] = lambda model=model, batch=batch: [
                loop_predict(model, image, OUTPUT) for image in batch]
        yield Group('whole job', f'{images} x {IMAGE[0]}x{IMAGE[1]}, {len(windows)} windows, to {OUTPUT[0]}x{OUTPUT[1]}, '
                                 f'{classes} classes', candidates, precision, images)


def vocabularies(clip_model: str, device: str, precision: str, count: int = 12) -> Group:
    """An ablation's work on an image with ``count`` vocabularies of 21 classes, over that with one; encoded texts are given."""
    options = {'model.clip.name': clip_model, 'model.clip.pretrained': None, 'model.image_encoder.precision': precision,
               'model.vocabulary.templates': ['{}']}
    settings = [Setting('voc21', 'row', str(config_file('gated_vit-b16_voc21')),
                        {**options, 'model.vocabulary.names': [f'thing {index} of list {number}' for index in range(21)]}, {})
                for number in range(count)]
    images = [torch.randn(3, *IMAGE, device=device)]
    ground_truth = torch.randint(0, 21, OUTPUT, device=device)

    def evaluate(model: SettingsModel) -> None:
        for prediction, in model(images, [SegDataSample(metainfo=dict(ori_shape=OUTPUT))]):
            class_areas(prediction.pred_sem_seg.data[0], ground_truth, 21, ignore_index=255)

    candidates = {}
    for rows in (settings[:1], settings):
        model = SettingsModel(rows).to(device)
        for segmentor in model.segmentors:
            segmentor.text_embeddings = unit_rows(21, segmentor.tower.output_width)
        candidates[f'{len(rows)} vocabular{"y" if len(rows) == 1 else "ies"}'] = partial(evaluate, model)
    return Group('vocabularies', f'{IMAGE[0]}x{IMAGE[1]}, 6 windows, 21 classes, to {OUTPUT[0]}x{OUTPUT[1]}', candidates,
                 precision, 1)


def label_map_on_disk(clip_model: str, device: str, folder: Path) -> Group:
    """Writing a label map, with and without waiting for the disk, over computing it."""
    model, image = build(clip_model, device, 171), torch.randn(3, *IMAGE, device=device)
    labels = original_size(model, [image], OUTPUT)[0].pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
    write = partial(write_label_map, folder / 'a.png', labels)

    def without_fsync() -> None:
        with patch('os.fsync'):
            write()

    return Group('label map on disk', f'{OUTPUT[0]}x{OUTPUT[1]}, 171 classes',
                 {'ovseg predict': partial(original_size, model, [image], OUTPUT), 'write, no fsync': without_fsync,
                  'write, fsync': write}, 'fp32', 1)


def precisions(clip_model: str, device: str) -> Group:
    """ovseg in bf16 over ovseg in fp32."""
    image = torch.randn(3, *IMAGE, device=device)
    candidates = {precision: partial(original_size, build(clip_model, device, 171, precision=precision), [image], OUTPUT)
                  for precision in ('fp32', 'bf16')}
    return Group('precision', f'{IMAGE[0]}x{IMAGE[1]}, 6 windows, 171 classes', candidates, 'each its own', 1)


def label_agreement(device: str) -> Dict[str, float]:
    """Share of the demo scenes' pixels whose label is fp32's, by precision."""
    images = sorted((DEMO_SCENES / 'images').glob('*.jpg'))

    def labels(precision: str) -> np.ndarray:
        inferencer = OVSegInferencer('gated_tiny-clip', device=device, cfg_options={'model.image_encoder.precision': precision})
        return np.concatenate([found.ravel() for found in inferencer(images, show_progress=False)['predictions']])

    expected = labels('fp32')
    return {precision: float((labels(precision) == expected).mean()) for precision in ('bf16', 'fp16')}


def decoding(device: str) -> Group:
    """Scores of six windows to labels."""
    layout = WindowLayout.plan(IMAGE, 224, 112, (16, 16))
    patches = F.normalize(torch.randn(len(layout), 196, 512, device=device), dim=-1)
    classes = F.normalize(torch.randn(171, 512, device=device), dim=-1)
    return Group('decode', '6 windows, 171 classes, to 480x640', {
        'plain loop': lambda: loop_decode(patches @ classes.t(), layout, OUTPUT, 40, torch.arange(171, device=device), 171),
        'ovseg': lambda: best_texts(patches, classes, layout, OUTPUT, 40)})


def modules(clip_model: str, device: str, windows: int) -> Iterator[Group]:
    """Time of the post-processors."""
    model = build(clip_model, device, 2)
    images = torch.randn(windows, 3, 224, 224, device=device)
    chains = dict(none=PostProcessorChain(), all=PostProcessorChain(ALL), ctd=PostProcessorChain([dict(type='CTD')]))

    models = {name: model.variant(post_processors=chain) for name, chain in chains.items()}

    def extract(name: str) -> None:
        models[name].embed(images)

    tokens = models['all'].tokens(images)
    embeddings = project(model.tower, tokens)
    suppress, ctd = OutlierSuppression(), CTD()
    sizes = f'{windows} windows of 224x224'
    yield Group('encoder and modules', sizes, {name: partial(extract, name) for name in chains})
    yield Group('outlier suppression', sizes, dict(loop=lambda: loop_outlier_suppression(tokens),
                                                   ovseg=lambda: suppress(tokens)))
    yield Group('DBSCAN', sizes, {'scikit-learn': lambda: sklearn_clusters(embeddings.patches, ctd),
                                  'ovseg': lambda: ctd.cluster(embeddings.patches)})


def text(clip_model: str, device: str) -> Iterator[Group]:
    """COCO-Stuff's class names in 80 templates; every 15th name where all of them would take ten minutes at full length."""
    clip = load_clip(clip_model, None).text_encoder.to(device)
    all_names = [synonyms[0] for synonyms in read_class_list('coco_stuff')]
    names, templates = all_names[::15], prompt_templates('imagenet80')
    prompts = [template.format(name) for name in names for template in templates]

    def full_length() -> None:
        for start in range(0, len(prompts), 256):
            clip.clip.encode_text(clip.tokenizer(prompts[start:start + 256]).to(device), normalize=True)

    def ovseg_encode(names: Sequence[str], cache: bool) -> None:
        TextEncoder(clip.clip, clip.tokenizer, cache=cache).encode(names, templates)  # a new one: it remembers rows

    yield Group('text', f'{len(names)} of 171 names x 80 templates', {
        'all 77 tokens': full_length, 'ovseg': lambda: ovseg_encode(names, cache=False)}, rounds=2)
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, OVSEG_CACHE=folder):
        ovseg_encode(all_names, cache=True)
        yield Group('text, second start', '171 names x 80 templates', {'ovseg': lambda: ovseg_encode(all_names, cache=True)})


def start_up() -> Group:
    """Seconds to a tiny model, over importing what it stands on."""
    def run(code: str) -> None:
        subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)  # noqa: S603  code of this file

    alone = '''
import importlib.util, sys
found = importlib.util.find_spec('ovseg')
sys.modules['ovseg'] = package = type(sys)('ovseg')  # its __init__ would import everything
package.__path__ = found.submodule_search_locations
from ovseg.compat import mmcv_operators
with mmcv_operators():
    import mmseg.models
'''
    tiny = "from ovseg.models import CLIPSegmentor; CLIPSegmentor('ovseg-tiny-clip', 'embedded', 'demo_scenes')"
    return Group('start', 'fresh process', {'import mmseg.models': lambda: run(alone),
                                            'import ovseg, build tiny': lambda: run(tiny)})


def command_start(folder: Path) -> Group:
    """Seconds to an answer of the console command, whose script is written into ``folder``, over importing torch."""
    script = folder / 'ovseg'  # as pip writes it
    script.write_text('import sys\nfrom ovseg.cli import main\nsys.exit(main())\n')

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], capture_output=True)  # noqa: S603  of this file

    answers = ['--help'], ['list'], ['list', '--json'], ['test', '--nonsense']
    return Group('command', 'fresh process', {
        'python -c "import torch"': lambda: run('-c', 'import torch'),
        **{f'ovseg {" ".join(arguments)}': partial(run, str(script), *arguments) for arguments in answers}})


def exported(clip_model: str, folder: Path) -> Group:
    """A file in onnxruntime over ovseg with all modules, on the CPU and with as many threads."""
    onnxruntime = needed('onnxruntime', 'export', 'the group export')
    model = build(clip_model, 'cpu', 21).variant(post_processors=ALL)
    model.text_embeddings = unit_rows(21, model.tower.output_width)
    write_onnx(model, IMAGE, folder / 'model.onnx', False, {})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / 'model.onnx', options, providers=['CPUExecutionProvider'])
    image = drawn_images(IMAGE)[:1]
    return Group('export', f'{IMAGE[0]}x{IMAGE[1]}, 6 windows, 21 classes, all modules', {
        'ovseg predict': lambda: labels_of_torch(model, image), 'onnxruntime': lambda: session.run(None, {'images': image})},
        'fp32', 1)


def decode_memory(classes: int) -> float:
    """Peak MB of a process that decodes a Cityscapes-sized image with so many classes."""
    torch.manual_seed(0)
    layout = WindowLayout.plan((560, 1120), 224, 112, (16, 16))
    patches = F.normalize(torch.randn(len(layout), 196, 512), dim=-1)
    embeddings = F.normalize(torch.randn(classes, 512), dim=-1)
    best_texts(patches, embeddings, layout, (1024, 2048), 40, with_probability=True)
    return peak_memory_mb()


def memory_by_vocabulary() -> Dict[int, float]:
    return {classes: in_fresh_process(decode_memory, classes) for classes in (19, 847, 10000)}


def predict_memory(height: int, width: int) -> float:
    """Peak MB of a process that segments one image of that size by the tiny CLIP."""
    with torch.no_grad():
        original_size(build(MODELS['small'], 'cpu', 21), [torch.randn(3, height, width)], (height, width))
    return peak_memory_mb()


def memory_by_size() -> Dict[str, float]:
    sizes = ((64, 64), (64, 16_000), (16_000, 64), (60, 60_000))
    return {f'{height}x{width}': in_fresh_process(predict_memory, height, width) for height, width in sizes}


def geometry_growth() -> float:
    """MB by which resident memory grows while images of different sizes, up to 2,500 x 1,500, are decoded."""
    classes = F.normalize(torch.randn(2, 4), dim=-1)

    def decode(index: int) -> None:
        layout = WindowLayout.plan((500 + 2 * index, 500 + index), 0, 0, (16, 16))
        out_size = (7, 64 + index) if index % 2 else (64 + index, 7)
        best_texts(torch.randn(1, layout.rows.cells * layout.cols.cells, 4), classes, layout, out_size)
    return growth_mb(decode, calls=1000, skipped=20)


def resident_growth() -> float:
    """MB by which resident memory grows after the first images of a row."""
    model = build(MODELS['small'], 'cpu', 21)

    def predict(index: int) -> None:
        height, width = 200 + index % 7 * 16, 260 + index % 5 * 16
        original_size(model, [torch.randn(3, height, width)], (height, width))
    return growth_mb(predict, calls=300, skipped=30)


def growth_mb(call: Callable[[int], None], calls: int, skipped: int) -> float:
    """MB by which resident memory grows while ``call`` is called with 0, 1, ..., behind the first calls."""
    for index in range(calls):
        call(index)
        if index == skipped:
            start = resident_mb()
    return resident_mb() - start


def resident_mb() -> float:
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096 / 2 ** 20


def ranks_throughput(clip_model: str, ranks: int, images: int = 8) -> float:
    """Images per second of ``ranks`` processes with one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        code = ('import sys; sys.path.insert(0, sys.argv[1]); import torch; torch.set_num_threads(1)\n'
                'from speed.workloads import rank_work; rank_work(sys.argv[2], int(sys.argv[3]), sys.argv[4])')
        arguments = [str(__file__).rsplit('/speed/', 1)[0], clip_model, str(images), folder]
        processes = [subprocess.Popen([sys.executable, '-c', code, *arguments]) for _ in range(ranks)]  # noqa: S603  as above
        if any(process.wait() for process in processes):
            raise RuntimeError('a rank failed; its error stands above')
        spans = [tuple(map(float, path.read_text().split())) for path in Path(folder).iterdir()]
    return ranks * images / (max(end for _, end in spans) - min(start for start, _ in spans))


def rank_work(clip_model: str, images: int, folder: str) -> None:
    """Work of one rank; writes its start and end."""
    with torch.no_grad():
        model = build(clip_model, 'cpu', 21)
        image = torch.randn(3, *IMAGE)
        model.predict([image])
        start = time.time()
        for _ in range(images):
            model.predict([image])
        Path(folder, str(os.getpid())).write_text(f'{start} {time.time()}')


def sweeps(clip_model: str, device: str) -> Dict[str, Tuple[str, str, Dict[int, float]]]:
    """Per sweep its axis, its unit and the figures: seconds per image, or images per second."""
    def per_image(model: CLIPSegmentor, size: Tuple[int, int], count: int = 1) -> float:
        images = [torch.randn(3, *size, device=device) for _ in range(count)]
        seconds, = in_turn({'predict': lambda: model.predict(images)}, 3, device).values()
        return statistics.median(seconds) / count

    model = build(clip_model, device, 21)
    sides = (224, 336, 448, 672)
    area = {side * side: per_image(model, (side, side)) for side in sides}
    vocabulary = {classes: per_image(build(clip_model, device, classes), IMAGE) for classes in (20, 100, 1000, 10000)}
    windows = {}
    for stride in (224, 112, 56):
        strided = model.variant(windows=dict(stride=stride), vocabulary=model.vocabulary)
        windows[len(strided.windows.plan((448, 448), (16, 16)))] = per_image(strided, (448, 448))
    batch = {count: per_image(model, (224, 224), count) for count in (1, 2, 4, 8)}
    figures = dict(area=('image area in pixels', 's per image', area), vocabulary=('classes', 's per image', vocabulary),
                   windows=('windows per image', 's per image', windows), batch=('images per batch', 's per image', batch))
    if device == 'cpu':
        figures['ranks'] = 'processes of one thread', 'images per s', {
            ranks: ranks_throughput(clip_model, ranks) for ranks in (1, 2)}
    return figures
