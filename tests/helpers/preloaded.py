"""Imported by the process from which `forked_ranks` forks its ranks, so that they need not import it themselves."""

import os

os.environ |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

import deepspeed  # noqa: F401, it looks for its accelerator when it is imported

import summtune.work.process.preflight
import summtune.work.training.loop  # noqa: F401, for the ranks
