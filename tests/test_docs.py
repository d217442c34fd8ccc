"""The pages of the repository: short sentences, paths and folders that exist; plain words in pages and code."""

import re
from pathlib import Path

import pytest
import typer
from importlinter.api import read_configuration

from summtune.base.places import package_path
from summtune.commands.cli import app
from summtune.plan.checking import check

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = package_path("")

# Lists of globs below the repository; a file that one of them matches is checked.
SENTENCES = ["README.md", "CONTRIBUTING.md", "docs/*.md", "benchmarks/*.md", "summtune/work/**/*.md"]
LINES = [*SENTENCES, "CHANGELOG.md"]
CODE = [
    *(f"{folder}/**/*.py" for folder in ("summtune", "tests", "benchmarks", "scripts")),
    "pyproject.toml",
    "Makefile",
    ".ci/run",
]
WORDS = [*LINES, "recipes/**/*.yaml", *CODE]

MOST_WORDS = 30
LONGEST_LINE = 120

# What a page does not say, each with what to write instead.
UNWANTED = {
    r"\b(?:come|comes|came|coming) along\b": "bundled",
    r"\bbrings? along\b": "installs, or includes",
    r"\b(?:go|goes|going|went) on\b": "resumes, or continues",
    r"\banew\b": "again, or from scratch",
    r"\bbeside\b": "next to, or besides",
    r"\b(?:lay|lays|laid) over\b": "override",
    r"\blays? \w+ \w+ over\b": "override",
    r"\bfrom elsewhere\b": "external",
    r"\b(?:is|are|was|were) (?:said|told)\b": "is reported",
    r"\b(?:lie|lies|stand|stands) (?:in|on|below|above|under|there|next)\b": "is",
    r"(?<!there\s)\b(?-i:is\snone)\b": "is not a valid …",  # but `is None` in code
    r"\bwhatever\b": "regardless of",
    r"\bof (?:its|their|our|your) own\b": "its own …, or say which",
    r"\bshall\b": "must, should or will",
    r"\bheeded\b": "respected",
    r"\btakes? no part\b": "is not used",
    r"\bargs of note\b": "Args",
}


# Where such words are right: in sample dialogues and in a template of FLAN.
RIGHT = ("Shall we", "What was going on in that conversation?")


def each(globs):
    """Parametrize a test with ``path``: one case for each file that a glob matches, named by its path."""
    found = sorted({path for glob in globs for path in ROOT.glob(glob)} - {Path(__file__).resolve()})
    return pytest.mark.parametrize("path", found, ids=lambda path: path.relative_to(ROOT).as_posix())


def prose_lines(text):
    """The numbered lines of a page without blocks of code."""
    fenced = after_blank = indented = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        starts_code = (
            line.startswith("    ") and (indented or after_blank) and not line.lstrip().startswith(("- ", "|"))
        )
        indented = starts_code
        after_blank = not line.strip()
        if not fenced and not starts_code:
            yield number, line


def blocks(text):
    """The paragraphs, items, headings and table cells of a page: runs of text in which sentences may end."""
    block = []
    for _, line in prose_lines(text):
        if line.startswith("|"):
            yield from (cell for cell in re.split(r"(?<!\\)\|", line.strip("| ")) if cell.strip(" -:"))
            continue
        if not line.strip() or re.match(r"\s*(?:[-*]|\d+\.|#+) ", line):
            yield " ".join(block)
            block = []
        block.append(line.strip().removeprefix("- "))
    yield " ".join(block)


def sentences(text):
    """The sentences of a page; a piece of code counts as one word, and of a link only the text counts."""
    for block in blocks(text):
        plain = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]+`", "Code", block)).replace("et al.", "et al")
        yield from re.split(r"(?<=[.!?])[\"”*)]*\s+", plain)


def words(sentence):
    return [word for word in sentence.split() if re.search(r"\w", word)]


def anchors(text):
    """The names that a link can give to the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each(SENTENCES)
def test_no_sentence_of_a_page_is_long(path):
    long = [text for text in sentences(path.read_text(encoding="utf-8")) if len(words(text)) > MOST_WORDS]
    assert long == []


@each(LINES)
def test_no_line_of_text_is_long(path):
    # A line of a table, and one that holds a link or a path, may be longer where it cannot be broken.
    lines = prose_lines(path.read_text(encoding="utf-8"))
    long = [
        (number, len(line))
        for number, line in lines
        if len(line) > LONGEST_LINE and not line.startswith(("|", "![")) and len(line.split()) > 2
    ]
    assert long == []


def test_the_readme_has_at_most_90_lines():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90


@each(WORDS)
def test_a_page_or_a_source_file_uses_plain_words(path):
    text = path.read_text(encoding="utf-8")
    for phrase in RIGHT:
        text = text.replace(phrase, "…")
    found = [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write {instead}"
        for pattern, instead in UNWANTED.items()
        for match in re.finditer(pattern.replace(" ", r"\s+"), text, re.IGNORECASE)
    ]
    assert found == []


@each(LINES)
def test_a_link_leads_to_a_file_and_a_heading_that_exist(path):
    text = path.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    assert broken == []


@each(LINES)
def test_a_path_that_a_page_names_exists(path):
    # A full path begins at the repository; one that begins at a folder of the package is too short to be found.
    folders = "|".join(folder.name for folder in PACKAGE.iterdir() if folder.is_dir())
    named = re.findall(r"`([\w./*-]+\.(?:py|cpp|md|yaml|json|jinja|txt)|[\w./-]+/)`", path.read_text(encoding="utf-8"))
    tops = r"(?:summtune|benchmarks|scripts|tests|docs|ds_configs)/"
    missing = [name for name in named if re.match(tops, name) and not list(ROOT.glob(name))]
    bare = [name for name in named if re.match(rf"(?:{folders})/.+\.(?:py|cpp)$", name)]
    assert missing + bare == []


COMMANDS = typer.main.get_command(app)


def commands_of(text):
    """The calls of summtune in the code of a page, each as its words up to a comment or a pipe."""
    code = text.replace("\\\n", " ")
    for call in re.findall(r"(?:^ {4}.*?|`)(summtune [a-z][^`#|\n]*)", code, re.MULTILINE):
        yield call.replace("…", "").split()


@each(LINES)
def test_a_command_that_a_page_shows_exists_with_its_options_and_recipes(path):
    wrong = []
    for _, name, *arguments in commands_of(path.read_text(encoding="utf-8")):
        command = COMMANDS.commands.get(name)
        known = {option for parameter in command.params for option in parameter.opts} if command else set()
        options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
        recipes = [word for word in arguments if word.startswith("recipes/")]
        wrong += [name] * (command is None)
        wrong += [f"{name} {option}" for option in options if option not in known]
        wrong += [recipe for recipe in recipes if not (ROOT / recipe).is_file()]
    assert wrong == []


def test_the_recipe_of_the_readme_is_valid_and_has_eight_lines(tmp_path):
    recipe = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    (tmp_path / "my_recipe.yaml").write_text(recipe, encoding="utf-8")
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("dialogue,summary\nA: Hi,A greets.\n", encoding="utf-8")
    assert check(tmp_path / "my_recipe.yaml").loaded.document.problems == []
    assert len(recipe.splitlines()) == 8


FILE_ENDINGS = (".json", ".jsonl", ".html", ".md", ".yaml")
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def folder_rows():
    """The table of folders in docs/architecture.md: for each folder the modules that its row names."""
    rows = re.findall(
        r"^\| `([\w/]+)/` \| ([^|]+) \|([^|]*)\|$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {folder: re.findall(r"`(\w+)`", modules) for folder, _, modules in rows}


def test_the_table_of_folders_has_every_folder_with_modules_and_no_other():
    on_disk = {file.parent.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py")} - {"."}
    assert set(folder_rows()) == on_disk


def test_the_table_of_folders_names_modules_that_exist():
    named = [(folder, module) for folder, modules in folder_rows().items() for module in modules]
    assert [
        f"{folder}/{module}.py" for folder, module in named if not (PACKAGE / folder / f"{module}.py").exists()
    ] == []


def test_the_page_shows_the_layers_that_are_checked():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert "\n".join(f"    {layer}" for layer in layers) in text


def test_the_lists_of_calls_name_functions_that_exist():
    text = ARCHITECTURE.read_text(encoding="utf-8")
    lists = text[text.index("## The way of a recipe") : text.index("## Two kinds of process")]
    code = " ".join(re.findall(r"^ {4}.*", lists, re.MULTILINE))
    calls = {call for call in re.findall(r"[a-z_]+(?:\.\w+)+", code) if not call.endswith(FILE_ENDINGS)}
    assert len(calls) > 10
    assert [call for call in sorted(calls) if not is_defined(*call.rsplit(".", 1))] == []


def is_defined(module, name):
    """Whether a module or a package of summtune has a function or a class of this name."""
    path = PACKAGE / module.replace(".", "/")
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return source.exists() and bool(re.search(rf"^(?:def|class) {name}\b", source.read_text("utf-8"), re.MULTILINE))


def test_only_the_module_that_accelerate_starts_is_in_the_root():
    assert {file.name for file in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py", "worker.py"}
