"""One rank: trains a model under DistributedDataParallel for two epochs, and tells which rows it was given.

usage: rank_program.py URL RANK WORLD_SIZE FOLDER NUM_WORKERS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from tfpetastorm.torch import ParquetDataset


def main(url: str, rank: int, world: int, folder: Path, workers: int) -> None:
    early = ParquetDataset(url, batch_size=16)
    dist.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    refused = ""
    try:
        next(iter(early))
    except ValueError as error:
        refused = str(error)
    dataset = ParquetDataset(url, fields=["id", "label"], batch_size=16, shuffle=True, seed=9, even="drop")
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=workers > 0)
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(1, 7))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    epochs = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        rows = []
        for batch in loader:
            optimizer.zero_grad()
            predicted = model(batch["id"].to(torch.float32)[:, None] / 500)
            torch.nn.functional.cross_entropy(predicted, batch["label"].long()).backward()
            optimizer.step()
            rows += batch["id"].tolist()
        total = torch.tensor(len(rows))
        dist.all_reduce(total)
        epochs.append({"rows": rows, "total": total.item(), "steps": len(loader)})
    weights = [parameter.tolist() for parameter in model.parameters()]
    told = {"epochs": epochs, "weights": weights, "refused": refused}
    (folder / f"rank-{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
