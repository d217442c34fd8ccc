"""File endings: which names mean a file, and which data formats are supported."""

from __future__ import annotations

from pathlib import PurePath

FILE_EXTENSIONS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z")
OFFICE = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".docx", ".doc", ".odt", ".rtf", ".pdf")
"""Not text, so they cannot hold one prediction per line either."""
_NOT_READ = (
    *OFFICE,
    ".txt", ".md", ".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ndjson", ".jsonlines", ".feather", ".orc",
    ".avro", ".h5",
    ".hdf5", ".pkl", ".pickle", ".npy", ".npz", ".db", ".sqlite", ".sqlite3", ".sql", ".dta", ".sav", ".rds", ".lz4",
    ".rar", ".tgz", ".py", ".ipynb",
)  # fmt: skip
_OF_MODELS = (".safetensors", ".bin", ".gguf", ".ggml", ".pt", ".pth", ".ckpt", ".onnx", ".msgpack", ".tflite")


def is_table(path: str) -> bool:
    """Return whether a file has columns, judging by its name; any other file of predictions is plain text."""
    return PurePath(path).suffix.lower() in (*FILE_EXTENSIONS, *COMPRESSED)


def names_file(path: str) -> bool:
    """Return whether a path has a known file ending; a hub id may contain dots, but does not end like this."""
    return path.lower().endswith((*FILE_EXTENSIONS, *COMPRESSED, *_NOT_READ, *_OF_MODELS))


def wrong_with_format(path: str) -> str | None:
    """Return why a data file cannot be read, judging by its name, and what to do; None if its format is supported."""
    base, dot, last = path.rpartition("/")[2].rpartition(".")
    extension = f"{dot}{last}".lower() if base else ""
    if extension in FILE_EXTENSIONS:
        return None
    if extension in COMPRESSED:
        return f"compressed files are not supported (got {path}); decompress it first"
    return (
        f"this format is not supported (got {path}, extension {extension or 'none'}); save it as .csv, or as one of "
        f"{', '.join(FILE_EXTENSIONS)}"
    )
