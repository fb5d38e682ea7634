"""Are the lower bounds right? ``python -m benchmarks.lowest_versions``, minutes and a network.

Installs the package with the lowest version of each dependency that ``pyproject.toml`` allows into an environment of
its own, and lets nano answer there. ``--keep NAME==VERSION`` puts another version of one in its place, such as a torch
for the CPU where the lowest would bring gigabytes of CUDA.
"""

import argparse
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent


def lowest(requirements: list[str]) -> list[str]:
    """Return requirements ``name>=version`` as ``name==version``.

    Raises:
        ValueError: one has no lower bound.
    """
    found = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement} has no lower bound of the form name>=version")
        found.append(f"{match[1]}=={match[2]}")
    return found


def main() -> int:
    """Install and try; return the exit code of the demo."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--keep", action="append", default=[], metavar="NAME==VERSION")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    kept = {name.partition("==")[0]: name for name in options.keep}
    wanted = [kept.get(pin.partition("==")[0], pin) for pin in lowest(project["dependencies"])]
    with TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *wanted], check=True)  # noqa: S603
        subprocess.run([*pip, "--no-deps", str(ROOT)], check=True)  # noqa: S603
        demo = [str(environment / "bin" / "kimi-audio"), "demo", "--out", str(Path(folder) / "demo")]
        return subprocess.run(demo, cwd=folder, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
