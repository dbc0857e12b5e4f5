"""Whatever README and docs/ show is run here, and has to do what it says. Pages that need other frameworks are run in
`tests/frameworks/`, in the environment that has them, those that need Spark in `tests/spark/`, and TFX's in
`tests/tfxio/` and `tests/tfx/`.

In each file, ```python blocks run in order in one namespace and one empty folder. A comment behind a `print(...)` is
part of what it has to print. Set-up that a reader need not see stands in an HTML comment that begins with
`<!-- setup`. In ```console blocks, lines that begin with `$ ` are run; the lines below have to appear in their output
in that order (`…` stands for anything, a line of its own for any lines). ```sh blocks are not run: they install, or
run what other tests do; ```py blocks are whole programs, which the page's own commands or tests/migration run.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"^```(?P<kind>[a-z]*)\n(?P<code>.*?)^```$|^<!-- setup\n(?P<setup>.*?)^-->$", re.MULTILINE | re.DOTALL
)
_PRINTED = re.compile(r"^\s*print\(.*\)\s{2}# (.+)$", re.MULTILINE)


ELSEWHERE = ["frameworks.md"]
#: Run by `tests/tfxio/` and `tests/tfx/`, where TFX's packages are installed.
WITH_TFX = ["tfxio.md", "tfx-pipelines.md"]
#: Run by `tests/spark/`, which has a session of Spark.
ON_SPARK = ["spark.md"]


@dataclass(frozen=True)
class Block:
    kind: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text):
        kind = "setup" if match.group("setup") is not None else match.group("kind")
        group = "setup" if kind == "setup" else "code"
        found.append(Block(kind, match.group(group), text.count("\n", 0, match.start(group))))
    return found


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def run_python(block: Block, path: Path, namespace: dict[str, object]) -> None:
    """Runs a block so that tracebacks name the page and its line; checks what it prints."""
    code = compile("\n" * block.line + block.code, str(path), "exec", dont_inherit=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    check_printed(_PRINTED.findall(block.code), out.getvalue(), f"{path.name}:{block.line}")


def check_printed(expected: list[str], printed: str, where: str) -> None:
    rest = printed
    for text in expected:
        pieces = [piece.strip() for piece in text.split("…")]
        for piece in filter(None, pieces):
            assert piece in rest, f"{where}: {piece!r} was not printed; this was:\n{printed}"
            rest = rest[rest.index(piece) + len(piece) :]


def run_console(block: Block, path: Path, folder: Path) -> None:
    """Runs the commands of a block; each has to succeed and to print the lines shown below it."""
    for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
        command, *shown = part.rstrip("\n").split("\n")
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "120",
        }
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        where = f"{path.name}:{block.line}: {command}"
        # A command shown to fail prints its error: only then may its status be another than 0.
        assert done.returncode == (2 if any("error:" in line for line in shown) else 0), f"{where}\n{done.stderr}"
        printed = done.stdout + done.stderr
        check_printed(
            [re.sub(r"\s+", " ", line) for line in shown if line.strip()], re.sub(r"\s+", " ", printed), where
        )


def run_page(path: Path, folder: Path) -> None:
    """Runs all blocks of a page; `folder` is the empty one in which this process works."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.kind in ("python", "setup"):
            run_python(block, path, namespace)
        elif block.kind == "console":
            run_console(block, path, folder)
        else:
            assert block.kind in ("", "sh", "py", "text", "json"), f"{path.name}:{block.line}: what is ```{block.kind}?"


@pytest.mark.filterwarnings("ignore:.*shuffle=True.*:UserWarning")
@pytest.mark.parametrize(
    "path",
    [page for page in pages() if page.name not in [*ELSEWHERE, *ON_SPARK, *WITH_TFX]],
    ids=lambda path: path.name,
)
def test_snippets_do_what_they_say(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(path, tmp_path)


def test_the_readme_is_short_and_starts_with_code() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert next(i for i, line in enumerate(lines, 1) if line.startswith("```python")) < 25


def test_shell_commands_name_targets_and_scripts_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in pages():
        for block in blocks(path.read_text(encoding="utf-8")):
            for line in block.code.splitlines() if block.kind == "sh" else ():
                words = shlex.split(line, comments=True)
                if words[:1] == ["make"]:
                    assert {word for word in words[1:] if "=" not in word} <= targets, f"{path.name}: {line}"


def test_links_lead_somewhere() -> None:
    for path in pages():
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_public_name_is_documented() -> None:
    import tfpetastorm

    text = "\n".join(path.read_text(encoding="utf-8") for path in pages())
    missing = [name for name in tfpetastorm._HOMES if not re.search(rf"\b{name}\b", text)]
    assert not missing


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print(1 + 1)  # 3\n", "'3' was not printed"),
        ("print('b a')  # a … b\n", "'b' was not printed"),
        ("raise ValueError('no')\n", "no"),
    ],
)
def test_a_snippet_that_lies_is_noticed(code: str, message: str) -> None:
    with pytest.raises((AssertionError, ValueError), match=re.escape(message)):
        run_python(Block("python", code, 3), Path("page.md"), {})


@pytest.mark.parametrize("code", ["$ false\n", "$ echo a\nb\n", "$ true\nerror: it fails\n"])
def test_a_command_that_lies_is_noticed(code: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run_console(Block("console", code, 1), Path("page.md"), tmp_path)


def test_blocks_are_found_in_order() -> None:
    page = "a\n```python\nx = 1\n```\n<!-- setup\ny = 2\n-->\n```console\n$ ls\n```\n"
    assert [(block.kind, block.code, block.line) for block in blocks(page)] == [
        ("python", "x = 1\n", 2), ("setup", "y = 2\n", 5), ("console", "$ ls\n", 8),
    ]  # fmt: skip
