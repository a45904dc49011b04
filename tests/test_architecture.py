"""A module imports only from the rows above its own, and start-up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each row may import from those above it. A package stands for all of its modules.
ROWS = [
    ["types", "errors", "progress"],
    [
        "chunking",
        "filters",
        "fusion",
        "sentences",
        "questions",
        "words",
        "queries",
        "files",
        "freshness",
        "uploads",
        "locks",
        "sidefile",
        "bm25",
        "significance",
        "calibration",
    ],
    [
        "folders",
        "loaders",
        "encoders",
        "vectors",
        "store",
        "audit",
        "writer",
        "migrations",
        "late",
        "claims",
        "reranker",
        "beir",
    ],
    [
        "plan",
        "embedder",
        "snapshots",
        "view",
        "runs",
        "attribution",
        "reader",
        "support",
        "qa",
        "composing",
        "injection",
        "conversation",
    ],
    ["ingest", "reembed", "doctor", "explain", "generators", "footnotes", "entailment", "verifiability"],
    ["index"],
    ["retriever", "watch", "passages", "saved"],
    ["pipeline", "evaluation", "answer_evaluation", "langchain"],
    ["cli", "quickstart", "__init__"],
]
# Within a row, the few that build on a neighbour.
NEIGHBOURS = {
    ("writer", "store"), ("writer", "audit"), ("audit", "store"), ("writer", "migrations"),
    ("evaluation", "pipeline"), ("answer_evaluation", "pipeline"), ("cli", "quickstart"),
    ("doctor", "reembed"), ("chunking", "sentences"), ("bm25", "words"), ("bm25", "queries"), ("queries", "words"),
    ("calibration", "files"), ("reranker", "encoders"), ("late", "encoders"),
}  # fmt: skip
ROW_OF = {module: row for row, modules in enumerate(ROWS) for module in modules}


def module_name(file: Path) -> str:
    return file.relative_to(ROOT / "rag").parts[0].removesuffix(".py")


def imported(file: Path) -> set[str]:
    """The modules of `rag` that a file names in any import, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts[0] == "rag":
                names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("rag.")}
    return names


FILES = sorted((ROOT / "rag").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_imports_only_from_the_rows_above(file: Path) -> None:
    name = module_name(file)
    assert name in ROW_OF, f"{name} has no row yet"
    if name == "__init__":
        return
    for other in imported(file) - {name}:
        above = ROW_OF[other] < ROW_OF[name]
        assert above or (name, other) in NEIGHBOURS, f"{name} imports {other}, which is not in a row above it"


def test_only_the_command_line_prints() -> None:
    for file in FILES:
        calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints, f"{file} prints"


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh process has loaded after running some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "streamlit", "pandas", "transformers", "sentence_transformers", "langchain_core", "sklearn", "scipy"}


@pytest.mark.parametrize(
    "code", ["import rag", "import rag.cli", "import rag, rag.index, rag.retriever, rag.evaluation, rag.runs"]
)
def test_importing_the_library_or_its_command_line_loads_nothing_heavy(code: str) -> None:
    assert not loaded_after(code) & HEAVY


def test_importing_rag_loads_neither_numpy_nor_faiss() -> None:
    assert not loaded_after("import rag") & {"numpy", "faiss", "onnxruntime", "sqlite3"}


def test_the_help_of_the_command_line_loads_neither_numpy_nor_faiss() -> None:
    code = "from rag.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_after(code) & (HEAVY | {"numpy", "faiss", "onnxruntime"})


BEFORE = [
    "rag.quickstart",
    "rag.__init__",
    "tests.__main__",
    "tests.__init__",
    "tests.browser.__init__",
    "tests.browser.chromium",
]


@pytest.mark.parametrize("module", BEFORE)
def test_what_runs_before_anything_is_installed_imports_the_standard_library_alone(module: str) -> None:
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8"))
    for node in tree.body:  # what is imported at once; `rag` itself resolves its names late
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name for name in inside if name in BEFORE] or [node.module]
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names or name in BEFORE
