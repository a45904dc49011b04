"""The browser of the browser tests: which one is there, and how to get one. Only the standard library is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium here: apt-get install chromium, or playwright install chromium"


def find(own: str | None = None) -> str | None:
    """The path of an installed Chromium, or None.

    Args:
        own: where Playwright would keep one that it fetched itself; taken if it is there and no other is.
    """
    installed = next((path for name in NAMES if (path := shutil.which(name))), None)
    return installed or (own if own and Path(own).exists() else None)


def ensure(*, seconds: int = 600) -> str | None:
    """`find`, after installing Debian's Chromium where there is none and this process may: root on Debian.

    Without a network it gives up; then the browser tests skip, and say why.
    """
    if path := find():
        return path
    if not _may_install():
        return None
    sys.stdout.write("\nInstalling Chromium for the browser tests (apt-get install chromium) …\n")
    sys.stdout.flush()
    patience = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        try:
            done = subprocess.run(
                ["apt-get", *patience, *step],
                env=environment,
                stdout=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            break
        if done.returncode:
            break
    return find()


def _may_install() -> bool:
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    try:
        release = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return False
    return "ID=debian" in release.splitlines()
