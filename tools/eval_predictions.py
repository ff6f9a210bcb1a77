"""``ovseg eval`` from a checkout: python tools/eval_predictions.py CONFIG FOLDER."""
from ovseg.cli import run_tool

if __name__ == '__main__':
    run_tool('eval', 'tools/eval_predictions.py')
