"""Puts the sample corpus into the package, as ui/sample. All else is in pyproject.toml."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSample(build_py):
    """A clone has the corpus at hand (`ui.sample.folder`); what is installed without the clone takes it along."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            source, target = Path(__file__).parent / "corpora" / "embeddings", Path(self.build_lib, "ui", "sample")
            copytree(source, target, ignore=ignore_patterns("build", "questions.jsonl"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithSample})
