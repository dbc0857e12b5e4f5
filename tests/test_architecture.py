"""The folders are the architecture: who may import whom, and what never loads TensorFlow."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tfpetastorm"
#: From left to right: each may import those before it.
ORDER = ["schema", "stores", "storage", "writing", "plan", "read", "pool", "feed", "reader", "tfdata"]
WITHOUT_TENSORFLOW = ORDER[: ORDER.index("tfdata")]
#: The one module of them that may import TensorFlow, in a function: only its own filesystems ask for it.
TENSORFLOWS_FILESYSTEMS = "stores/gfile.py"
#: May import all of these, and of one another only those named; the façade alone hands them out.
ON_TOP: dict[str, list[str]] = {
    "keras": [], "spark": [], "tfmd": [], "tfx": ["tfmd", "tfxio", "upkeep"], "tfxio": ["tfmd"], "torch": [],
}  # fmt: skip
#: Beside the way of a row: may import what lies left of these and them; only what sits on top imports it.
BESIDE = {"upkeep": "read"}
#: Single modules that any folder may import, and that import no folder but those given.
COMMON: dict[str, list[str]] = {"errors": [], "redaction": []}
#: The folders that import each of the other frameworks: none where they take what we give without any help of ours.
OTHER_FRAMEWORKS: dict[str, list[str]] = {
    "torch": ["torch", "petastorm"], "pyspark": ["spark"], "jax": [], "pytensor": [], "theano": [], "sklearn": [],
    "tensorflow_metadata": ["tfmd", "tfxio", "tfx"], "tfx_bsl": ["tfxio", "tfx"], "apache_beam": ["tfxio", "tfx"],
    "tfx": ["tfx"], "tensorflow_transform": ["tfx"], "tensorflow_model_analysis": ["tfx"],
    "tensorflow_data_validation": [], "ml_metadata": [],
}  # fmt: skip
#: What only an extra, a user or a front end brings in.
OPTIONAL = [
    "fsspec", "pyspark", "torch", "jax", "pytensor", "sklearn", "pandas", "matplotlib", "psutil", "tensorflow_metadata",
    "tfx", "tfx_bsl", "apache_beam", "tensorflow_transform", "tensorflow_data_validation",
    "tensorflow_model_analysis", "ml_metadata", "rich",
]  # fmt: skip


def modules(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


def imports_of(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at whatever depth of its code, as an absolute name and the line."""
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            # `from tfpetastorm import read` imports a folder, `from tfpetastorm.read import task` a module.
            for alias in node.names:
                yield f"{prefix}.{alias.name}", node.lineno


def forbidden(path: Path, allowed: list[str]) -> list[str]:
    """Imports of ours from elsewhere than `allowed` (the façade is elsewhere too), as `file:line: name`."""
    return [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for name, line in imports_of(path)
        if name.split(".")[0] == PACKAGE.name and not {*name.split(".")[1:2]} & {*allowed, *COMMON}
    ]


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_what_lies_left_of_it(folder: str) -> None:
    allowed = ORDER[: ORDER.index(folder) + 1]
    found = modules(folder)
    assert found, f"no modules in {folder}/"
    assert not [line for path in found for line in forbidden(path, allowed)]


@pytest.mark.parametrize("folder", ON_TOP)
def test_what_sits_on_top_stands_by_itself(folder: str) -> None:
    found = modules(folder)
    assert found, f"no modules in {folder}/"
    assert not [line for path in found for line in forbidden(path, [*ORDER, *ON_TOP[folder], folder])]


@pytest.mark.parametrize("name", OTHER_FRAMEWORKS)
def test_other_frameworks_are_imported_in_their_folder_only(name: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {imported}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in OTHER_FRAMEWORKS[name]
        for imported, line in imports_of(path)
        if imported.split(".")[0] == name
    ]
    assert not found


@pytest.mark.parametrize("folder", BESIDE)
def test_what_lies_beside_imports_only_what_it_needs(folder: str) -> None:
    found = modules(folder)
    assert found, f"no modules in {folder}/"
    allowed = [*ORDER[: ORDER.index(BESIDE[folder]) + 1], folder]
    assert not [line for path in found for line in forbidden(path, allowed)]


@pytest.mark.parametrize("name", COMMON)
def test_common_modules_import_no_folder(name: str) -> None:
    assert not forbidden(PACKAGE / f"{name}.py", COMMON[name])


@pytest.mark.parametrize("folder", [*WITHOUT_TENSORFLOW, *BESIDE, "cli", "tfmd"])
def test_no_line_left_of_tfdata_imports_tensorflow(folder: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in modules(folder)
        if path.relative_to(PACKAGE).as_posix() != TENSORFLOWS_FILESYSTEMS
        for name, line in imports_of(path)
        if name.split(".")[0] in {"tensorflow", "keras", "tf_keras"}
    ]
    assert not found


def test_tensorflows_filesystems_load_it_when_asked() -> None:
    source = (PACKAGE / TENSORFLOWS_FILESYSTEMS).read_text(encoding="utf-8")
    assert "tensorflow" in {name.split(".")[0] for name, _ in imports_of(PACKAGE / TENSORFLOWS_FILESYSTEMS)}
    assert not re.search(r"^(import|from) (tensorflow|keras)", source, re.MULTILINE)


def test_the_rules_notice_an_import_to_the_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks above can fail: each spelling of a wrong import is seen."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "tfpetastorm")
    module = tmp_path / "tfpetastorm" / "read" / "task.py"
    module.parent.mkdir(parents=True)
    wrong = [
        "import tfpetastorm.pool.executors",
        "from tfpetastorm.pool import executors",
        "from tfpetastorm import pool",
        "from ..pool import executors",
        "from .. import pool",
        "def f():\n    from tfpetastorm.tfdata import source",
        "import tfpetastorm",
        "from tfpetastorm import make_dataset",
    ]
    for source in wrong:
        module.write_text(source)
        assert forbidden(module, ["schema", "storage", "plan", "read"]), source
    module.write_text(
        "from tfpetastorm.errors import Place\nfrom ..schema import field\nfrom . import ops\nimport numpy"
    )
    assert not forbidden(module, ["schema", "storage", "plan", "read"])


def loaded_after(*statements: str) -> set[str]:
    """The top-level names in `sys.modules` of a fresh interpreter that ran the statements."""
    code = "\n".join([*statements, "import sys", "print(*{name.split('.')[0] for name in sys.modules})"])
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_every_module_left_of_tfdata_loads_no_tensorflow() -> None:
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for folder in WITHOUT_TENSORFLOW
        for path in modules(folder)
    ]
    assert not loaded_after(*(f"import {name}" for name in names)) & {"tensorflow", "keras"}


def test_importing_the_package_loads_neither_tensorflow_nor_anything_optional() -> None:
    assert not loaded_after("import tfpetastorm") & {"tensorflow", "keras", "tf_keras", *OPTIONAL}


@pytest.mark.parametrize("folder", ["tfmd", "tfxio", "tfx"])
def test_what_is_for_tfx_loads_nothing_until_a_name_is_used(folder: str) -> None:
    found = loaded_after(f"import tfpetastorm.{folder}", f"dir(tfpetastorm.{folder})")
    assert not found & {"tensorflow", "keras", *OPTIONAL}


def test_training_with_keras_loads_only_the_keras_of_the_model() -> None:
    assert "tf_keras" not in loaded_after("import tfpetastorm", "tfpetastorm.keras.fit")
