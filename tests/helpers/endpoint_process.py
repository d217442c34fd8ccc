"""A predict stage in its own process, to be killed: endpoint_process.py FOLDER URL COUNT."""

import sys
from pathlib import Path

from endpoint_runs import Run

if __name__ == "__main__":
    folder, url, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    Run(folder, [f"t{number}" for number in range(count)]).predict(url)
