"""Runs a module of summtune as ``python -m`` would, with nothing of the current folder on the path.

``python …/summtune/base/start.py MODULE ARGUMENT...`` is what `summtune.base.safe_python` and torchrun start. Before
its path is clean it may import nothing but what Python has loaded itself.
"""

import sys

if __name__ == "__main__":
    # Python put the folder of this script first, unless PYTHONSAFEPATH (3.11 and later) is set.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    import os
    import runpy

    # Last, for a checkout that is not installed: this very package must be found, and must hide nothing.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120, pathlib is slow
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
