"""What the package costs: the time that importing it adds to importing torch, and the memory that training needs at its peak.

Both are measured in processes of their own, and time as processor time: a busy machine does not change it much.
"""

import json
import os
import pkgutil
import statistics
import subprocess
import sys

import pytest

import vae_helpers
from vae_helpers import paths
from vae_helpers.recipes import RECIPES

IMPORT_SECONDS = 0.3  # on top of torch
PEAK_GB = 1.5
HEAVY = {"IPython", "anywidget", "ipywidgets", "matplotlib", "pandas", "pooch", "requests", "scipy", "sklearn"}
HEAVY |= {"torch._dynamo", "torch._inductor", "torchvision"}
NEEDS_HEAVY = {"classifier"}  # it is a scikit-learn estimator
PUBLIC = [
    module.name for module in pkgutil.iter_modules(vae_helpers.__path__) if not module.ispkg and module.name[0] != "_"
]

IMPORT = """
import json, sys, time
import torch
torch_only, started = set(sys.modules), time.process_time()
import vae_helpers, vae_helpers.lesson
first_cell = time.process_time() - started
import importlib
for name in sys.argv[1:]:
    importlib.import_module("vae_helpers." + name)
everything = time.process_time() - started
print(json.dumps([first_cell, everything, sorted(set(sys.modules) - torch_only)]))
"""

TRAIN = """
import os, resource, sys, tempfile, time
from pathlib import Path
import torch
from vae_helpers import checkpoints
from vae_helpers.data import ImageSet
from vae_helpers.recipes import RECIPES

noise = torch.Generator().manual_seed(0)
pixels = torch.randint(0, 256, (60_000, 28, 28), dtype=torch.uint8, generator=noise)
everything = ImageSet(pixels, torch.randint(10, (60_000,), generator=noise))
training, held_out = everything.split_off(5000)
recipe, steps = RECIPES[sys.argv[1]], int(sys.argv[2])

model, seen = recipe.build(images=training), []
def stop(*_):
    seen.append(1)
    if len(seen) > steps:
        raise KeyboardInterrupt
hook = model.encoder.register_forward_hook(stop)
_, history = recipe.train(training, model=model, validation=held_out)
assert history.interrupted and len(seen) == steps + 1
hook.remove()

def keep(history):
    with tempfile.TemporaryDirectory() as folder:
        checkpoints.save(Path(folder) / "run.safetensors", model, history=history)
_, history = recipe.train(training[:1000], model=model, epochs=1, validation=held_out, on_epoch=keep)
assert len(history) == 1

try:  # of this program alone; ru_maxrss also remembers the process that started it
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
except (OSError, StopIteration):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak)
"""


def child(program: str, *arguments: str) -> str:
    """What a fresh Python prints last."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=paths.ROOT,
        env=os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


def test_importing_the_package_costs_little_on_top_of_torch():
    runs = [json.loads(child(IMPORT, *(name for name in PUBLIC if name not in NEEDS_HEAVY))) for _ in range(3)]
    loaded = HEAVY & set(runs[0][2])
    assert not loaded, f"importing loads {loaded}: import it in the function that needs it"
    for which, what in enumerate(("vae_helpers and its lesson", "all modules")):
        seconds = statistics.median(run[which] for run in runs)
        assert seconds <= IMPORT_SECONDS, f"importing {what} adds {seconds:.2f} s of processor time to torch's"


def parameters(name: str) -> int:
    return sum(weight.numel() for weight in RECIPES[name].build().parameters())


@pytest.mark.skipif(os.name == "nt", reason="reads the peak as Linux and macOS tell it")
def test_training_the_largest_recipe_on_all_images_fits_in_a_small_machine():
    peak = int(child(TRAIN, max(RECIPES, key=parameters), "15")) / 1e9
    assert 0.2 < peak <= PEAK_GB, f"the peak was {peak:.2f} GB"
