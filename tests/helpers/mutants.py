"""Hypothesis strategies for mutants: of bytes, of lines, and of the values in a tree, by what breaks readers."""

import copy
import json

import yaml
from hypothesis import strategies as st

NUMBERS = [
    0, -1, 1, 2**31, 2**63, 2**64 + 1, -(2**70), 10**25, int("9" * 90), 0.0, -0.0, 0.5, 1e-320, 1e308, float("inf"),
    float("-inf"), float("nan"), True, False, None,
]  # fmt: skip
TEXTS = [
    "", " ", ".", "..", "/", "//", "~", "~nobody/x", "~/x", "./nowhere", "../../nowhere", "/dev/null", "folder",
    "loop", "locked.json", "data.jsonl", "model", "ds.json", "a" * 300, "a/" * 3000, "x" * 6000 + ".json", "\0",
    "a\0b", "\ud800", "\udcff.json", "a\nb", "a\rb", "\x1b]0;x\x07\x1b[2J", "\x9b2J", "\u202etxt", "\u2028", "\ufeff",
    "[red]x[/red]", "[/]", ":smile:", "{", "}", "{dialogue}", "{dialogue}{dialogue}", "%s", "%(x)s", "$HOME", "`id`",
    "$(id)", "'; id; '", '"', "\\", "*", "?", "[", "**", "é", "١٢", "²", "1" * 5000, "0x10", "1e400", "nan", "inf",
    "2024-99-99", "2024-01-01T00:00:00Z", "1:2:3", "999-0", "0", "-5", "9" * 5000 + ":00:00", "-", "--help",
    "builtin/x", "builtin/../x", "builtin/flan-t5-nano", "builtin/dialogues", "owner/name", "a/b/c",
    "recipes/lora.yaml", "recipes/../../x", "recipes/nested.yaml", "ds_configs/../x", "ds_configs/zero3.json", "lora",
    "prompt", "train", "compare", "slurm", "auto", "max", "drop", "rouge1", "rougeL",
]  # fmt: skip
COLLECTIONS = [[], {}, [[]], [{}], {"": ""}, {"path": "x"}, [1, "a", None], {"a": {"b": {"c": 1}}}, {"1": 2}]
HOSTILE = [*NUMBERS, *TEXTS, *COLLECTIONS]
"""Values that a reader may stumble over."""

YAML_TOKENS = [
    "9" * 5000, "-" + "1" * 4301, "1e400", "-.inf", ".nan", "0x" + "f" * 5000, "0o17", "1_000", "1:30:45",
    "2024-99-99", "2024-01-01 99:99:99", "!!timestamp 2024-99-99", "!!int x", "!!float x", "!!bool x", "!!null x",
    "!!binary ====", "!!binary é", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!python/object:os.system x",
    "!!python/object/apply:os.system ['id']", "!<tag:yaml.org,2002:python/none> x", "! x", "!x y", "!!str [a]",
    "!!map [a]", "!!seq {a: b}", "!!int [1]", "&a [*a]", "&a {k: *a}", "*nowhere", "&a x", "<<: {a: 1}", "{<<: [1]}",
    "<<", "? a", "? [a, b] : c", "{? {a: b} : c}", "{[a]: b}", "{1: a, 1: b}", "{a: 1, a: 2}", "{null: a}",
    "{true: a}", "{~: a}", "[" * 30, "[" * 30 + "]" * 30, "[" * 3000, "{a: " * 3000, "- " * 2000, "|", ">", "|9",
    "|-\n  x\n y", "'", '"', '"\\x00"', '"\\uD800"', '"\\UFFFFFFFF"', '"\\U00110000"', '"\\x1b[2J"', '"\\e]0;x\\a"',
    '"\\u202e"', '"\\N"', '"\\L"', "%YAML 9.9", "---", "...", "--- a\n--- b", "%TAG ! x", "@", "`", "\t", "a: b: c",
    "- a: - b", "{a: &x [&y [1,1,1,1], *y, *y, *y, *y], b: [*x, *x, *x, *x]}", "a" * 5000, "k: " + "v" * 5000,
    "\u2028", "\ufeff", "\x85", "#", "",
]  # fmt: skip

_BYTES = [
    b"", b"\0", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80",
    b"\x1b[2J", b"\x9b", b"\xc2\x9b2J", b"\r", b"\r\n", b"\n", b"\t", b" ", b":", b": ", b"- ", b"-", b"#", b"'",
    b'"', b"[", b"]", b"{", b"}", b",", b"&a ", b"*a", b"!", b"!!", b"|", b">", b"?", b"%", b"@", b"`", b"---\n",
    b"...\n", b"<<: ", b"9" * 5000, b"~", b"null", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80",
]  # fmt: skip


@st.composite
def mutated_bytes(draw, content):
    """Return ``content`` after a few edits: pieces put in, taken out, replaced or repeated, or in another encoding."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from(_BYTES) | st.binary(max_size=6))
        content = draw(
            st.sampled_from(
                [
                    content[:at] + piece + content[at:],
                    content[:at] + content[end:],
                    content[:at] + piece + content[end:],
                    content[:end] + content[at:end] + content[end:],
                    content[:at],
                ]
            )
        )
    if draw(st.integers(0, 9)):
        return content
    text = content.decode("utf-8", "replace")
    encoding = draw(st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp037"]))
    return text.encode(encoding, "replace")


@st.composite
def mutated_lines(draw, text):
    """Return ``text`` with lines repeated, exchanged, indented otherwise or left out, or a value by a hostile token."""
    lines = text.split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        before, colon, _ = lines[at].partition(":")
        token = draw(st.sampled_from(YAML_TOKENS))
        key = draw(
            st.sampled_from(
                [before, "a" * 300, "? x\n", '"\\0"', "<<", "*a", "[a]", "1", "~", "", "\x1b[2J", '"\\e[2J"']
            )
        )
        changed = draw(
            st.sampled_from(
                [
                    f"{before}{colon} {token}",
                    f"{key}: {token}",
                    f"{key}:",
                    token,
                    f"- {token}",
                    f"  {lines[at]}",
                    lines[at].lstrip(),
                    lines[other],
                    "",
                ]
            )
        )
        lines[at : at + draw(st.integers(0, 1))] = [changed]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _places(tree, path=()):
    yield path
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield from _places(value, (*path, key))


@st.composite
def mutated_tree(draw, tree, keys=()):
    """Return a tree of dicts and lists with a few values or keys replaced, added or taken away.

    Args:
        tree: what is mutated.
        keys: names that a reader knows, put where they do not belong.
    """
    tree = copy.deepcopy(tree)
    hostile = st.sampled_from(HOSTILE) | st.text(max_size=12) | st.integers()
    names = st.sampled_from([*keys, *TEXTS]) if keys else st.sampled_from(TEXTS)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_places(tree))))
        value = copy.deepcopy(draw(hostile))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                return value
            if isinstance(tree, dict):
                tree[draw(names)] = value
            continue
        container = tree
        for part in path[:-1]:
            container = container[part]
        old = container[path[-1]]
        match draw(st.integers(0, 6)):
            case 0:
                del container[path[-1]]
            case 1 if isinstance(container, dict):
                container[draw(names)] = container.pop(path[-1])
            case 2 if isinstance(old, dict):
                old[draw(names)] = value
            case 2 if isinstance(old, list):
                old.append(value)
            case 3:
                container[path[-1]] = [old]
            case _:
                container[path[-1]] = value
    return tree


def as_yaml(tree):
    """Return the YAML of a tree, which lone surrogates and infinities do not keep from being written."""
    return yaml.dump(tree, allow_unicode=False, sort_keys=False).encode()


def as_json(tree):
    """Return the JSON of a tree; NaN and infinities as Python writes them."""
    return json.dumps(tree).encode()
