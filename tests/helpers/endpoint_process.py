"""A predict stage in its own process, to be interrupted or killed: endpoint_process.py FOLDER URL COUNT [JSON]."""

import json
import signal
import sys
from pathlib import Path

from endpoint_runs import Run

from summtune.base.errors import StopAsked
from summtune.commands.main import Interrupted, _ask_to_stop, _interrupt


class Printed:
    """In place of the list of warnings."""

    append = staticmethod(lambda text: print(text, flush=True))


if __name__ == "__main__":
    folder, url, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _ask_to_stop)
    run = Run(folder, [f"t{number}" for number in range(count)])
    run.said = Printed()
    try:
        run.predict(url, **json.loads(sys.argv[4]))
    except Interrupted:
        sys.exit(130)
    except StopAsked:
        sys.exit(143)
