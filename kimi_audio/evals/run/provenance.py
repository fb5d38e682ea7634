"""What code made a result."""

import shutil
import subprocess
from pathlib import Path

from kimi_audio.evals.metrics.libraries import versions


def git_hash() -> str:
    """Return the commit of this package, with "+" if files differ from it; else its version."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "kimi-audio " + versions(("kimi-audio",))["kimi-audio"]


def _git(folder: Path, *arguments: str) -> str:
    program = shutil.which("git")
    if program is None:
        raise FileNotFoundError("git")
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - fixed arguments
    return done.stdout.strip()
