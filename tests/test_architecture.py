"""The rules of ARCHITECTURE.md, executed. What breaks one today is listed, and the lists only shrink."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kimi_audio"
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
MODULES = sorted(path for name in ("kimi_audio", "kimia_infer") for path in (ROOT / name).rglob("*.py"))
RECIPES = sorted((ROOT / "recipes").rglob("*.py"))
# Places that may know about CUDA: choice of a device, free memory, graphs, precision, the list of devices.
CUDA_FILES = {
    "kimi_audio/devices.py",
    "kimi_audio/lm/captured.py",
    "kimi_audio/cli/info.py",
    "kimi_audio/nn/memory.py",
    "kimi_audio/nn/precision.py",
}

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
        ("from kimi_audio.core.config import LMConfig\nfrom kimi_audio.lm.model import AudioLM\nimport torch", 0),
    ):
        file = tmp_path / "lm" / "new.py"
        file.write_text(text)
        assert len(violations(file)) == expected, text


# ---------------------------------------------------------------------------------------------------------------------
# Folders form no circle

Arrows = set[tuple[str, str]]


def folder_of(module: str) -> str:
    """Return the folder of a module or name such as ``lm.model.AudioLM``."""
    folder = PACKAGE
    for part in module.split("."):
        if not (folder / part).is_dir():
            break
        folder /= part
    return str(folder.relative_to(ROOT))


def arrows_between_folders() -> Arrows:
    """Return which folder imports from which; the package's own surface is not counted."""
    arrows = set()
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "__init__.py":
            own = str(path.parent.relative_to(ROOT))
            arrows |= {(own, folder_of(surface().get(name, name))) for name in imported(path)}
    return {(one, other) for one, other in arrows if one != other}


def circle_in(arrows: Arrows) -> list[str]:
    """Return the folders of one circle, if there is one."""
    graph: dict[str, set[str]] = {}
    for one, other in arrows:
        graph.setdefault(one, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_folders_form_no_circle():
    arrows = arrows_between_folders()
    assert len(arrows) > 20
    assert circle_in(arrows) == []


def test_circles_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "kimi_audio")
    for name, text in (("a", "from kimi_audio.b.c import d"), ("b/c", "def f():\n    import kimi_audio.a.x")):
        folder = tmp_path / "kimi_audio" / name
        folder.mkdir(parents=True)
        (folder / "x.py").write_text(text)
    assert sorted(set(circle_in(arrows_between_folders()))) == ["kimi_audio/a", "kimi_audio/b/c"]


# ---------------------------------------------------------------------------------------------------------------------
# Names and files


def shared_names(names: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """Return the names that stand in several places, with the places."""
    places: dict[str, list[str]] = {}
    for name, path in names:
        places.setdefault(name, []).append(str(path.relative_to(PACKAGE)))
    return {name: sorted(found) for name, found in places.items() if len(found) > 1}


def public_classes() -> Iterator[tuple[str, Path]]:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield node.name, path


def public_files() -> Iterator[tuple[str, Path]]:
    yield from ((path.stem, path) for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__"))


@pytest.mark.parametrize("names", [public_classes, public_files], ids=["classes", "files"])
def test_one_name_is_one_thing(names: Callable[[], Iterator[tuple[str, Path]]]):
    found = list(names())
    assert len(found) > 100
    assert shared_names(found) == {}


def test_public_names_are_declared_once():
    import kimi_audio

    assert sorted(surface()) == sorted(kimi_audio.__all__)


def test_a_wheel_takes_no_names_but_ours():
    """A top-level package of a plain name, such as "recipes", would collide with those of others."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["kimi_audio", "kimia_infer"]}


def test_files_of_the_document_exist():
    paths = re.findall(r"`((?:kimi_audio|recipes|tests)/[\w/.]*)`", DOCUMENT)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


# ---------------------------------------------------------------------------------------------------------------------
# What code may do


def dotted(node: ast.AST) -> str:
    """Return a name such as ``torch.random.fork_rng``; "" where it is none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def prints(node: ast.AST) -> bool:
    """Tell whether something reaches the terminal, a progress bar included."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in ("rich", "tqdm") for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return str(node.module).split(".")[0] in ("rich", "tqdm")
    return dotted(node) in ("sys.stdout", "sys.stderr") or (isinstance(node, ast.Call) and dotted(node.func) == "print")


def seeds(node: ast.AST) -> bool:
    """Tell whether the random numbers of everyone are seeded."""
    pattern = r"(torch|torch\.random|torch\.cuda|np\.random|numpy\.random|random)\.(manual_seed|manual_seed_all|seed)"
    return isinstance(node, ast.Call) and bool(re.fullmatch(pattern, dotted(node.func)))


OPENERS = r"(.*\.)?(open|SoundFile|memmap)"
WRITERS = (
    r"(.*\.)?(write_text|write_bytes|tofile|save_file|savefig|copyfile|copytree)"
    r"|(np|numpy)\.save\w*|torch\.save|soundfile\.write|(json|pickle|yaml)\.dump|shutil\.(copy|copy2|move)"
)


def writes(node: ast.AST) -> bool:
    """Tell whether a file is written."""
    if not isinstance(node, ast.Call):
        return False
    name, given = dotted(node.func), [*node.args, *(keyword.value for keyword in node.keywords)]
    if re.fullmatch(OPENERS, name):
        words = [value.value for value in given if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        return any(re.fullmatch(r"[wax][bt+]*|r[bt]*\+[bt]*", word) for word in words)
    return bool(re.fullmatch(WRITERS, name))


@dataclass(frozen=True)
class Law:
    """What code may not do, unless in the body of ``with shelter(...)``, and the places that do it today."""

    files: list[Path]
    is_broken: Callable[[ast.AST], bool]
    known: set[str]
    shelter: str = ""

    def breaches(self, code: str, file: str) -> set[str]:
        """Return the places "file" or "file: function" in some code that break the law."""
        found = set()

        def visit(node: ast.AST, place: str) -> None:
            if isinstance(node, ast.With) and any(self._is_shelter(item.context_expr) for item in node.items):
                return
            if self.is_broken(node):
                found.add(place)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                place = f"{place}.{node.name}" if ": " in place else f"{place}: {node.name}"
            for child in ast.iter_child_nodes(node):
                visit(child, place)

        visit(ast.parse(code), file)
        return found

    def _is_shelter(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and dotted(node.func).split(".")[-1] == self.shelter


WITH_PROGRESS_BARS = {
    "kimi_audio/data/recordings.py",
    "kimi_audio/evals/tasks/datasets.py",
    "kimi_audio/evals/tasks/recognition.py",
    "kimi_audio/evals/tasks/understanding.py",
    "kimi_audio/train/speech/voice_adaptation.py",
}
SEEDED = {
    "kimi_audio/train/speech/flow_stage.py: train_flow",
    "kimi_audio/train/speech/vocoder_stage.py: train_vocoder",
}
THE_HELPER = {"kimi_audio/core/files.py: _to_disk"}
IN_MEMORY = {
    "kimi_audio/audio/decoder_process.py: _warm_up",
    "kimi_audio/audio/writing.py: _encoded",
    "kimi_audio/evals/models/common.py: wav_bytes",
    "kimi_audio/serve/encodings.py: FfmpegEncoder.__init__",
    "recipes/nano/channels.py: through_codec",
    "recipes/nano/packed.py: _encoded",
}
LINE_BY_LINE = {  # whoever reads them knows half a line
    "kimi_audio/transcript/partial.py: PartialTranscript.add",
    "kimi_audio/data/split.py: SplitWriter.__init__",
    "kimi_audio/evals/contract/rows.py: appending",
    "kimi_audio/train/loop/journal.py: Journal.__init__",
    "recipes/nano/recording.py: record",
}
NOT_WHOLE = {  # or by a way of their own
    "kimi_audio/data/split.py: SplitWriter.close",
    "kimi_audio/evals/tasks/datasets.py: _fetch_by_https",
    "kimi_audio/evals/tasks/datasets.py: _fetch_from_hub",
    "kimi_audio/evals/models/subprocess_model.py: _as_file",
    "recipes/nano/evals/data.py: _write",
    "recipes/nano/packed.py: kept_opus",
    "recipes/nano/voice_recordings.py: _recorded",
    "recipes/nano/voice_recordings.py: _write",
}
LAWS = {
    "only the command line prints": Law(
        [path for path in MODULES if PACKAGE / "cli" not in path.parents], prints, WITH_PROGRESS_BARS
    ),
    "nobody seeds the random numbers of everyone": Law(MODULES + RECIPES, seeds, SEEDED, shelter="fork_rng"),
    "files are written whole": Law(
        MODULES + RECIPES, writes, THE_HELPER | IN_MEMORY | LINE_BY_LINE | NOT_WHOLE, shelter="write_whole"
    ),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_laws(law: Law):
    found = set()
    for path in law.files:
        found |= law.breaches(path.read_text("utf-8"), str(path.relative_to(ROOT)))
    assert sorted(found - law.known) == []
    assert sorted(law.known - found) == [], "these keep the law now: take them off the list"


@pytest.mark.parametrize(
    ("law", "code", "number"),
    [
        ("only the command line prints", "def f():\n    print(1)", 1),
        ("only the command line prints", "from rich.progress import track", 1),
        ("only the command line prints", "import sys\nsys.stdout.write('x')", 1),
        ("only the command line prints", "blueprint(1)\nimport richer", 0),
        ("nobody seeds the random numbers of everyone", "torch.manual_seed(1)", 1),
        ("nobody seeds the random numbers of everyone", "np.random.seed(1)", 1),
        ("nobody seeds the random numbers of everyone", "with torch.random.fork_rng():\n    torch.manual_seed(1)", 0),
        ("nobody seeds the random numbers of everyone", "torch.Generator().manual_seed(1)", 0),
        ("files are written whole", "open(name, 'w')", 1),
        ("files are written whole", "(folder / 'x').open(mode='ab+')", 1),
        ("files are written whole", "def f():\n    path.write_text('')\ndef g():\n    np.save(path, x)", 2),
        ("files are written whole", "np.memmap(path, '<i2', mode='r')\nopen(name, 'rb')\nopen(name)", 0),
        ("files are written whole", "with write_whole(path) as partial:\n    save_file(tensors, partial)", 0),
    ],
)
def test_breaches_are_noticed(law: str, code: str, number: int):
    assert len(LAWS[law].breaches(code, "kimi_audio/x.py")) == number


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_device_is_named(path: Path):
    name = str(path.relative_to(ROOT))
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
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
