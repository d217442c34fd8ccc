"""Reads what W&B logged offline: the records of a ``.wandb`` file, which has LevelDB's log format."""

import json
import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, struct.Struct("<IHB")  # checksum, length, type: 1 whole, 2 first, 3 middle, 4 last


def records(path):
    """Yield the records of the file, as protocol buffers."""
    content, at, parts = Path(path).read_bytes(), 7, b""  # a file begins with its own header of seven bytes
    while at + HEADER.size <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER.size:
            at += left  # padding: no header is divided
            continue
        _, length, kind = HEADER.unpack_from(content, at)
        at += HEADER.size
        parts += content[at : at + length]
        at += length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def logged(path):
    """Return the rows that were logged, and the configuration of the run."""
    rows, config, run = [], {}, {}
    for record in records(path):
        match record.WhichOneof("record_type"):
            case "history":
                items = record.history.item
                rows.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
            case "run":
                run = {"project": record.run.project, "entity": record.run.entity, "name": record.run.display_name}
                config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            case "config":
                updates = record.config.update
                config |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}
    return rows, config, run
