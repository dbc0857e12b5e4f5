"""Real strategies: what each replica is given of a UnischemaTFXIO's dataset."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tfpetastorm as tps
from tests.distribute.cluster import run
from tests.tfxio.data import write
from tfpetastorm.schema.field import UnischemaField as Field

pytestmark = pytest.mark.slow
ROWS, EPOCHS, BATCH = 213, 2, 10


@pytest.mark.parametrize("workers", [1, 2])
def test_replicas_read_every_row_once_an_epoch_in_as_many_steps(tmp_path: Path, workers: int) -> None:
    schema = tps.Unischema("S", [Field("id", np.int64), Field("x", np.float64)])
    url = write(tmp_path / "d", schema, [{"id": i, "x": i / 4} for i in range(ROWS)], row_group_rows=17)
    options = {"url": str(url), "batch_size": BATCH, "epochs": EPOCHS, "mirrored": workers == 1}
    results = run("../tfxio/strategy_program.py", tmp_path, options, workers=workers)
    steps = [len(result["steps"]) for result in results]
    assert steps == [44] * workers
    seen: Counter[int] = Counter()
    for number in range(steps[0]):
        ids, x = (
            [cell for result in results for part in result["steps"][number][kind] for cell in part] for kind in (0, 1)
        )
        assert x == [i / 4 for i in ids]
        assert len(ids) <= BATCH
        seen.update(ids)
    assert max(seen.values()) == EPOCHS
    # Of several workers none has a row more than another.
    assert seen.total() == EPOCHS * (ROWS - ROWS % workers)
