"""Savings of tools/ablate.py: the time of an ablation, and that of the commands which repeat its rows one by one.

    python tools/speed/ablation.py configs/demo/gated_tiny-clip_demo.py --full \
        --toggle apply_outlier_suppression global_debias_factor apply_ctd

Takes the arguments of tools/ablate.py, but --work-dir. Each is a process of its own, as a user starts it; scores must agree.
"""
import csv
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Tuple

ROOT = Path(__file__).parents[2]


def timed(command: List[str]) -> Tuple[float, str]:
    """Seconds that a command takes, and what it prints."""
    start = time.perf_counter()
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603  our own
    return time.perf_counter() - start, output


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        together, _ = timed([sys.executable, 'tools/ablate.py', *sys.argv[1:], '--work-dir', folder])
        with (Path(folder) / 'table.csv').open(encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        print(f'{len(rows)} rows together: {together:.1f} s')
        alone = 0.0
        for row in rows:
            seconds, output = timed([sys.executable, *shlex.split(row['command'])[1:], '--work-dir', f'{folder}/alone'])
            score, = re.findall(r'mIoU: ([\d.]+)', output)
            if float(score) != float(row['mIoU']):
                raise ValueError(f'{row["setting"]}: {score} alone, {row["mIoU"]} together')
            print(f'{row["setting"]}: {seconds:.1f} s, mIoU {score}')
            alone += seconds
    print(f'{len(rows)} rows one by one: {alone:.1f} s, {alone / together:.2f} times as long')


if __name__ == '__main__':
    main()
