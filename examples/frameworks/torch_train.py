"""PyTorch: a training loop over `ParquetDataset`, with two worker processes.

python examples/frameworks/torch_train.py [--folder demo]

Under `torchrun` each rank reads its own part: call `torch.distributed.init_process_group` first, and give the training
dataset even="drop".
"""

from __future__ import annotations

import sys

import torch
from digits_data import TEST, TRAIN, digits_url, tell
from torch.utils.data import DataLoader

from tfpetastorm.torch import ParquetDataset


def main() -> int:
    url = digits_url()
    torch.manual_seed(0)
    train = ParquetDataset(url, fields=["image", "digit"], batch_size=32, where=TRAIN, shuffle=True, seed=1)
    # Batches are made by the dataset: batch_size=None keeps the loader from making batches of these.
    loader = DataLoader(train, batch_size=None, num_workers=2, persistent_workers=True)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for epoch in range(8):
        train.set_epoch(epoch)  # another order, also in the worker processes
        for batch in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch["image"] / 16), batch["digit"].long())
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: {len(loader)} steps, loss {loss.item():.3f}")

    with torch.no_grad():
        test = ParquetDataset(url, fields=["image", "digit"], batch_size=100, where=TEST)
        right = [model(batch["image"] / 16).argmax(1) == batch["digit"] for batch in test]
    return tell(torch.cat(right).float().mean().item())


if __name__ == "__main__":
    sys.exit(main())
