"""What the process imports that `forked_ranks` forks its ranks from, so that none of them has to."""

import os

os.environ |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

import deepspeed  # noqa: F401, it looks for its accelerator when it is imported

import summtune.work.process.preflight
import summtune.work.training.stage  # noqa: F401
