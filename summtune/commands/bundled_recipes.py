"""Lists the bundled recipes, and copies them for editing."""

from __future__ import annotations

from pathlib import Path

from summtune.base.errors import InputError
from summtune.base.files import write_bytes
from summtune.base.hints import hint
from summtune.base.places import package_path


def list_recipes() -> list[tuple[Path, str]]:
    """Return each recipe's path and the first sentence of its opening comment; those in folders come last."""
    folder = package_path("recipes")
    paths = sorted(folder.rglob("*.yaml"), key=lambda path: (path.parent != folder, path))
    return [(path, _purpose(path)) for path in paths]


def copy_recipe(name: str, to: Path | None) -> list[Path]:
    """Copy a recipe, and the recipes that it compares; files of outputs are the user's. Return the files written.

    Args:
        name: path below recipes/, with or without ``.yaml``.
        to: file to write; default: the recipe's file name in the current folder.

    Raises:
        InputError: the recipe does not exist, or a file that would be written does.
    """
    from summtune.recipe.keys import CompareRecipe
    from summtune.recipe.loading import load_recipe
    from summtune.recipe.sections import ComparedPredictions

    folder = package_path("recipes")
    source = folder / f"{name.removesuffix('.yaml')}.yaml"
    if not source.is_file():
        known = [path.relative_to(folder).with_suffix("").as_posix() for path, _ in list_recipes()]
        raise InputError(f"no such recipe (got {name!r}){hint(name, known)}; `summtune recipes` lists all of them")
    target = to or Path(source.name)
    recipe = load_recipe(source).recipe
    compared = recipe.recipes if isinstance(recipe, CompareRecipe) else ()
    named = [entry for entry in compared if not isinstance(entry, ComparedPredictions)]
    names = [entry if isinstance(entry, str) else entry.recipe for entry in named]
    files = {target: source} | {target.parent / name: source.parent / name for name in names}
    for path in files:
        if path.exists():
            raise InputError(f"the file already exists (got {path}); choose another path with --to")
    for path, origin in files.items():
        write_bytes(path, origin.read_bytes())
    return list(files)


def _purpose(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    text = " ".join(line for line in comments if not line.startswith("yaml-language-server"))
    return text.split(". ", 1)[0].rstrip(".") + "."
