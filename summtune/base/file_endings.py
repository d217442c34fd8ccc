"""Tells by the ending of a name that it means a file, and which formats of data are read."""

from __future__ import annotations

FILE_EXTENSIONS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z")
OFFICE = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".docx", ".doc", ".odt", ".rtf", ".pdf")
"""No text, so not even one prediction a line."""
_NOT_READ = (
    *OFFICE,
    ".txt", ".md", ".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ndjson", ".jsonlines", ".feather", ".orc",
    ".avro", ".h5",
    ".hdf5", ".pkl", ".pickle", ".npy", ".npz", ".db", ".sqlite", ".sqlite3", ".sql", ".dta", ".sav", ".rds", ".lz4",
    ".rar", ".tgz", ".py", ".ipynb",
)  # fmt: skip
_OF_MODELS = (".safetensors", ".bin", ".gguf", ".ggml", ".pt", ".pth", ".ckpt", ".onnx", ".msgpack", ".tflite")


def names_file(path: str) -> bool:
    """Whether a path ends as files do; an id of the hub may hold dots, but it does not end like this."""
    return path.lower().endswith((*FILE_EXTENSIONS, *COMPRESSED, *_NOT_READ, *_OF_MODELS))


def wrong_with_format(path: str) -> str | None:
    """Return why a file of data cannot be read, by its name, and what to do; None where its format is read."""
    base, dot, last = path.rpartition("/")[2].rpartition(".")
    extension = f"{dot}{last}".lower() if base else ""
    if extension in FILE_EXTENSIONS:
        return None
    if extension in COMPRESSED:
        return f"compressed files are not read (got {path}); decompress it first"
    return (
        f"this format is not read (got {path}, extension {extension or 'none'}); save it as .csv, or as one of "
        f"{', '.join(FILE_EXTENSIONS)}"
    )
