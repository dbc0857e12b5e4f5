"""In an environment that has the other frameworks, nothing of ours loads one that was not asked for.

TensorFlow itself loads JAX where it finds it, and Keras scikit-learn: that is theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tfpetastorm

PACKAGE = Path(tfpetastorm.__file__).parent
FRAMEWORKS = {"torch", "jax", "jaxlib", "pytensor", "sklearn"}


def modules() -> list[str]:
    """Every module of ours but those that are of PyTorch, and those that need a package which is not here."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if "torch" in parts or any("torch" in part for part in parts) or parts[-1] == "__main__":
            continue
        names.append(".".join(parts).removesuffix(".__init__"))
    return names


#: What some modules need and this environment has not.
MISSING = ["pyspark", "tfx", "tensorflow_model_analysis"]


def loaded_after(code: str) -> set[str]:
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True, text=True, env=environment, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_no_module_but_those_of_pytorch_loads_another_framework() -> None:
    found = modules()
    assert "tfpetastorm.tfdata.dataset" in found
    code = "import importlib\n" + "".join(
        f"try: importlib.import_module({name!r})\nexcept ModuleNotFoundError as e: assert e.name in {MISSING}, e\n"
        for name in found
    )
    loaded = loaded_after(code)
    assert "tensorflow" in loaded
    assert not loaded & FRAMEWORKS - loaded_after("import tensorflow, keras, tf_keras")


def test_training_from_a_dataset_loads_no_other_framework(tmp_path: Path) -> None:
    code = f"""
import numpy as np, tfpetastorm as tps
schema = tps.Unischema("S", [tps.UnischemaField("x", np.float32, ())])
with tps.DatasetWriter({str(tmp_path / "d")!r}, schema) as writer:
    writer.write_batch({{"x": np.arange(8, dtype=np.float32)}})
assert sum(len(batch["x"]) for batch in tps.make_dataset({str(tmp_path / "d")!r}, batch_size=4)) == 8
"""
    assert not loaded_after(code) & FRAMEWORKS - loaded_after("import tensorflow, keras")


def test_reading_without_tensorflow_loads_no_framework_at_all() -> None:
    code = "import tfpetastorm as tps\ntps.open_dataset, tps.DatasetWriter\nimport tfpetastorm.reader.reader"
    assert not loaded_after(code) & {*FRAMEWORKS, "tensorflow", "keras"}


def test_the_torch_package_loads_no_tensorflow() -> None:
    loaded = loaded_after("import tfpetastorm.torch")
    assert "torch" in loaded
    assert not loaded & {"tensorflow", "keras", "jax", "pytensor", "sklearn"}
