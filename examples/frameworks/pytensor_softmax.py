"""PyTensor, which carries on Theano: softmax regression, compiled once and fed NumPy batches.

python examples/frameworks/pytensor_softmax.py [--folder demo]
"""

from __future__ import annotations

import sys

import numpy as np
import pytensor
import pytensor.tensor as pt
from digits_data import TEST, TRAIN, digits_url, tell

import tfpetastorm as tps


def main() -> int:
    url = digits_url()
    image, digit = pt.matrix("image"), pt.ivector("digit")
    weights = pytensor.shared(np.zeros((64, 10)), "weights")
    likelihood = pt.special.softmax(image @ weights, axis=1)
    loss = -pt.log(likelihood[pt.arange(digit.shape[0]), digit]).mean()
    step = [(weights, weights - 0.5 * pytensor.grad(loss, weights))]
    # FAST_COMPILE needs no C compiler; leave the mode out where there is one.
    train = pytensor.function([image, digit], loss, updates=step, mode="FAST_COMPILE")
    predict = pytensor.function([image], likelihood.argmax(1), mode="FAST_COMPILE")

    with tps.make_batch_reader(url, filters=TRAIN, num_epochs=20, seed=1) as reader:
        for batch in reader:
            train(batch.image.reshape(-1, 64) / 16, batch.digit)
    with tps.make_batch_reader(url, filters=TEST) as reader:
        right = [predict(batch.image.reshape(-1, 64) / 16) == batch.digit for batch in reader]
    return tell(np.concatenate(right).mean())


if __name__ == "__main__":
    sys.exit(main())
