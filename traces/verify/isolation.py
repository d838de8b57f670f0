"""Which isolation this machine offers to programs of others: the ladder, probed once.

bwrap      bubblewrap: namespaces of its own for files, processes, network and users, no
           environment, no capability; inside it the jail of `traces.verify.jail` as well
landlock   the jail alone: Landlock for files, seccomp for the rest; works where user namespaces
           are refused
none       nothing is run, and verdicts on programs are unknown

Every rung drops root, forbids new processes and limits CPU time, memory and output.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from traces.verify import jail

RUNGS = ("bwrap", "landlock")
_PROBE_S = 20.0
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache")
_UNSHARED = """
    --unshare-all --unshare-user --disable-userns --die-with-parent --new-session --cap-drop ALL
    --uid 65534 --gid 65534 --hostname jail --proc /proc --dev /dev --chdir / --clearenv
    --setenv PYTHONHASHSEED 0
"""


def missing(rung: str) -> str:
    """Why this machine lacks a rung; empty where it has it. Probed once in a process."""
    return _bwrap_missing() if rung == "bwrap" else jail.missing()


def best() -> str:
    """The first rung that this machine has, empty where it has none."""
    return next((rung for rung in RUNGS if not missing(rung)), "")


def why_none() -> str:
    """What is missing for each rung, in one line."""
    return "; ".join(f"{rung}: {missing(rung)}" for rung in RUNGS)


def command(rung: str, code: str, *arguments: str) -> list[str]:
    """The command that runs `code` in a fresh Python with our modules, on that rung.

    The caller starts it with an empty environment: bubblewrap's own can be read inside it.
    """
    python = os.path.realpath(sys.executable)
    run = [python, "-s", "-S", "-c", code, *arguments]
    return run if rung != "bwrap" else [*_bwrap(), "--", *run]


def import_path() -> list[str]:
    """Where the started Python finds its standard library and the `traces` package."""
    stdlib = [os.path.join(place, d) for place in jail.libraries() for d in ("", "lib-dynload")]
    return [str(_package().parent), *stdlib]


def _package() -> Path:
    return Path(__file__).resolve().parents[1]


def _bwrap() -> list[str]:
    """Bubblewrap with the system's libraries, Python and this package to read, nothing else."""
    found = shutil.which("bwrap")
    assert found is not None
    places = [*_SYSTEM, sys.base_prefix, *jail.libraries(), str(_package())]
    binds: list[str] = []
    for place in dict.fromkeys(places):
        if os.path.islink(place):
            binds += ["--symlink", os.readlink(place), place]
        elif os.path.exists(place) and (place in _SYSTEM or not place.startswith("/usr/")):
            binds += ["--ro-bind", place, place]
    return [found, *_UNSHARED.split(), *binds]


@functools.cache
def _bwrap_missing() -> str:
    if lack := jail.missing(landlock=False):
        return lack
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    try:
        done = subprocess.run(
            command("bwrap", "import sys; sys.path[:] = sys.argv[1:]; import traces.verify.jail",
                    *import_path()),
            env={}, capture_output=True, timeout=_PROBE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "bubblewrap does not start"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return (lines[-1][:120] if lines else "bubblewrap fails") if done.returncode else ""
