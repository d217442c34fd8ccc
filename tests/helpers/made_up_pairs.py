"""Training pairs of random lengths."""

import random

from summtune.work.tokens.pairs import Pair, Pairs


def make_pairs(count, multiple, seed=0):
    rng = random.Random(seed)
    return Pairs(
        [
            Pair(input_ids=[3] * rng.choice([20, 40, 60, 120, 300]), labels=[4] * rng.randint(3, 30))
            for _ in range(count)
        ],
        multiple,
        eos=1,
    )
