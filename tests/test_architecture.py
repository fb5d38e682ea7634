"""The rules of ARCHITECTURE.md, executed."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kimi_audio"
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
MODULES = sorted(path for name in ("kimi_audio", "kimia_infer") for path in (ROOT / name).rglob("*.py"))
# Places that may know about CUDA: the choice of a device, its free memory, and the list of devices.
CUDA_FILES = {"kimi_audio/assistant.py", "kimi_audio/checkpoint.py", "kimi_audio/cli/info.py"}

ROWS = re.findall(r"^\| (\d+) \| ([\w/]+) \|", DOCUMENT, re.MULTILINE)
LAYERS = {name: int(layer) for layer, name in ROWS}
ORDER = {name: number for number, (_, name) in enumerate(ROWS)}


def row_of(module: str) -> str:
    """Return the row of a module such as ``lm.model``."""
    first = module.split(".")[0]
    return first if first in LAYERS else first + "/"


def imported(path: Path) -> Iterator[str]:
    """Yield what a file imports from the package, wherever in the file, without the name of the package."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            # "from kimi_audio import checkpoint" names a module, "from kimi_audio import KimiAudio" the surface.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, rest = name.partition(".")
            if top in ("kimia_infer", "recipes") or (top == "kimi_audio" and rest):
                yield rest if top == "kimi_audio" else name


def surface() -> dict[str, str]:
    """Return the homes of the public names."""
    import kimi_audio

    return kimi_audio._HOMES


def violations(path: Path) -> list[str]:
    own = row_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    found = []
    for name in imported(path):
        other = row_of(surface().get(name, name))
        is_above = LAYERS.get(other) == LAYERS[own] and not other.endswith("/") and ORDER[other] < ORDER[own]
        if not (other == own or LAYERS.get(other, 99) < LAYERS[own] or is_above):
            found.append(f"{path.relative_to(ROOT)} (layer {LAYERS[own]}) imports {name}")
    return found


def test_table_is_complete():
    names = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    names |= {path.parent.name + "/" for path in PACKAGE.glob("*/__init__.py")}
    assert names == set(LAYERS)
    assert len(ROWS) == len(LAYERS)
    assert [int(layer) for layer, _ in ROWS] == sorted(LAYERS.values())


def test_imports_go_downwards():
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]
    assert files
    assert [problem for path in files for problem in violations(path)] == []


def test_upward_imports_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "lm").mkdir()
    for text, expected in (
        ("from kimi_audio.detokenizer.flow import integrate", 1),
        ("def f():\n    from kimi_audio import KimiAudio", 1),
        ("import recipes.nano", 1),
        ("from kimi_audio.chat import Message", 1),
        ("from kimi_audio.config import LMConfig\nfrom kimi_audio.lm.model import AudioLM\nimport torch", 0),
    ):
        file = tmp_path / "lm" / "new.py"
        file.write_text(text)
        assert len(violations(file)) == expected, text


def test_public_names_are_declared_once():
    import kimi_audio

    assert sorted(surface()) == sorted(kimi_audio.__all__)


def test_files_of_the_document_exist():
    paths = re.findall(r"`((?:kimi_audio|recipes|tests)/[\w/.]*)`", DOCUMENT)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_printing_and_no_cuda(path: Path):
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if not name.startswith("kimi_audio/cli/") and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{where} prints"
        if isinstance(node, ast.Attribute) and node.attr == "cuda":
            is_namespace = isinstance(node.value, ast.Name) and node.value.id == "torch"
            assert is_namespace, f"{where} moves to CUDA"
            assert name in CUDA_FILES, f"{where} asks about CUDA"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and name not in CUDA_FILES:
            assert not re.fullmatch(r"cuda(:\d+)?", node.value), f"{where} names a device"


def test_imports_have_no_side_effects():
    code = """
import importlib, logging, os, pkgutil, random, sys, warnings
import torch, numpy
import huggingface_hub, rich.console, safetensors.torch, soundfile, soxr, tiktoken, typer, yaml

def state():
    return dict(
        environment=dict(os.environ), threads=torch.get_num_threads(), interop=torch.get_num_interop_threads(),
        dtype=torch.get_default_dtype(), gradients=torch.is_grad_enabled(), torch_random=torch.get_rng_state().tolist(),
        device=torch.get_default_device(), precision=torch.get_float32_matmul_precision(),
        tf32=torch.backends.cudnn.allow_tf32, numpy_random=str(numpy.random.get_state()), random=random.getstate(),
        level=logging.root.level, handlers=list(logging.root.handlers), disabled=logging.root.manager.disable,
        filters=list(warnings.filters), cuda=torch.cuda.is_initialized(), folder=os.getcwd(), path=list(sys.path),
    )

before = state()
count = 0
for top in ("kimi_audio", "kimia_infer"):
    package = importlib.import_module(top)
    for module in pkgutil.walk_packages(package.__path__, top + "."):
        importlib.import_module(module.name)
        count += 1
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
levels = [n for n, l in logging.root.manager.loggerDict.items() if n.startswith("kimi") and getattr(l, "handlers", [])]
assert not levels, levels
assert count > 20, count
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
