"""Runs a module of summtune as ``python -m`` would, without the current folder on the path.

`summtune.base.safe_python` and torchrun start it as ``python …/summtune/base/start.py MODULE ARGUMENT...``. Until its
path is clean, it must import only what Python itself has already loaded.
"""

import sys

if __name__ == "__main__":
    # Python puts the folder of this script first, unless PYTHONSAFEPATH (3.11 and later) is set.
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    import os
    import runpy

    # Appended last, for a checkout that is not installed: this package must be found, but must not hide others.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120, pathlib is slow
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
