"""YAML with positions, and without its traps."""

import time

import pytest

from summtune.base.errors import InputError
from summtune.recipe.document import Position
from summtune.recipe.yaml_reader import read_yaml, read_yaml_file, read_yaml_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2.5e+1", -25.0),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("010", 10),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01 10:00:00", "2026-01-01 10:00:00"),
        ("1:30", "1:30"),
        ("12:00:00", "12:00:00"),
        ("=", "="),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("+7", 7),
    ],
)
def test_plain_scalars_follow_the_yaml_1_2_core_schema(text, value):
    read = read_yaml(f"key: {text}\n", "a.yaml").value["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", "+.Inf", ".nan", ".NaN"])
def test_infinities_and_nan_are_read_as_floats(text):
    value = read_yaml(f"key: {text}", "a.yaml").value["key"]
    assert isinstance(value, float)
    assert value - value != 0


def test_every_key_and_item_has_its_position():
    document = read_yaml("seed: 1\ndatasets:\n  - path: a\n    limit: 3\n  - { path: b }\n", "a.yaml")
    assert document.positions[("seed",)] == Position("a.yaml", 1, 1)
    assert document.positions[("datasets", 0)] == Position("a.yaml", 3, 5)
    assert document.positions[("datasets", 0, "limit")] == Position("a.yaml", 4, 5)
    assert document.positions[("datasets", 1, "path")] == Position("a.yaml", 5, 7)


def test_a_problem_without_a_position_is_reported_at_the_enclosing_section():
    document = read_yaml("seed: 1\ngeneration:\n  num_beams: 4\n", "a.yaml")
    assert str(document.problem(("generation", "missing"), "odd")) == "a.yaml:2:1: odd"
    assert str(document.problem(("nowhere",), "odd")) == "a.yaml:1:1: odd"


def problems(text):
    return [str(problem) for problem in read_yaml(text, "a.yaml").problems]


def test_duplicate_keys_are_reported_with_both_lines_and_the_first_value_is_kept():
    text = "seed: 1\nlora_r: 8\nseed: 2\ngeneration:\n  num_beams: 1\n  num_beams: 2\n"
    assert problems(text) == [
        "a.yaml:3:1: duplicate key 'seed' (first on line 1); keep one of them",
        "a.yaml:6:3: duplicate key 'num_beams' (first on line 5); keep one of them",
    ]
    assert read_yaml(text, "a.yaml").value["seed"] == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("!!python/object/apply:os.system ['true']", "!!python/object/apply:os.system"),
        ("!!python/name:os.system x", "!!python/name:os.system"),
        ("!!int abc", "!!int"),
        ("!!bool yes", "!!bool"),
        ("!!str 5", "!!str"),
        ("!!set {a, b}", "!!set"),
        ("!mine 5", "!mine"),
    ],
)
def test_tags_are_refused(text, shown):
    assert problems(f"key: {text}") == [f"a.yaml:1:1: YAML tags are not allowed (got {shown}); write a plain value"]


def test_merge_keys_and_nested_keys_are_refused():
    advice = "write the keys out, without merging or nesting"
    assert problems("base: &b {seed: 1}\n<<: *b\n") == [f"a.yaml:2:1: a key must be a plain name (got '<<'); {advice}"]
    assert problems("? [a, b]\n: 1\n") == [f"a.yaml:1:3: a key must be a plain name (got 'a collection'); {advice}"]


def test_text_in_double_braces_needs_quotes():
    advice = "quote text that is in braces"
    assert problems("a: {{b}}\n") == [f"a.yaml:1:5: a key must be a plain name (got 'a collection'); {advice}"]


def test_a_number_of_thousands_of_digits_is_reported():
    assert problems("seed: " + "9" * 5000) == [
        "a.yaml:1:1: a number has at most 100 digits (got 5000); shorten or quote it"
    ]


def test_an_alias_is_a_copy_of_its_anchor():
    document = read_yaml("a: &x {seed: 1}\nb: *x\n", "a.yaml")
    assert document.value == {"a": {"seed": 1}, "b": {"seed": 1}}
    document.assign("b.seed", 2, "--set b.seed=2")
    assert document.value["a"] == {"seed": 1}


def test_aliases_that_expand_to_gigabytes_are_refused_quickly():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    started = time.monotonic()
    with pytest.raises(InputError, match=r"a.yaml:1: aliases or nesting expand .* \(limits: 20,000 values, depth 20\)"):
        read_yaml("\n".join(lines), "a.yaml")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "a: " + "[" * 30 + "]" * 30])
def test_recursive_aliases_and_excessive_nesting_are_refused(text):
    with pytest.raises(InputError, match="aliases or nesting expand to more than a recipe can hold"):
        read_yaml(text, "a.yaml")


def test_nesting_beyond_the_recursion_limit_is_refused():
    with pytest.raises(InputError, match=r"a.yaml: nested too deeply for a recipe; is it the right file\?"):
        read_yaml("[" * 5000, "a.yaml")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: b: c", "a.yaml:1:5"),
        ("seed: 1\n\tlora_r: 2", "a.yaml:2:1"),
        ("a: 'x", "a.yaml:1:6"),
        ("a: [1, 2", "a.yaml:1:9"),
        ("a: *nowhere", "a.yaml:1:4"),
        ("a: @x", "a.yaml:1:4"),
        ("a: \x01", "a.yaml"),
    ],
)
def test_invalid_yaml_is_reported_with_its_position(text, place):
    with pytest.raises(InputError, match=rf"^{place}: not YAML \(.+\); check the indentation, colons and quotes"):
        read_yaml(text, "a.yaml")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "~"])
def test_an_empty_recipe_is_reported(text):
    with pytest.raises(InputError, match=r"a.yaml: the recipe is empty; `summtune init` writes one to start from"):
        read_yaml(text, "a.yaml")


def test_several_documents_are_refused():
    with pytest.raises(InputError, match=r"a.yaml:3: a recipe is one YAML document \(got 2\); remove the `---`"):
        read_yaml("kind: prompt\n---\nkind: train\n", "a.yaml")


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfkind: prompt\r\nseed: 1\r\n")
    document = read_yaml_file(path)
    assert document.value == {"kind": "prompt", "seed": 1}
    assert document.positions[("kind",)] == Position(str(path), 1, 1)


def test_bytes_that_are_not_utf8_are_reported_with_their_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"kind: prompt\nbase_model: caf\xe9\n")
    with pytest.raises(InputError, match=r"a.yaml:2: a recipe is UTF-8 text \(got byte 0xe9\); save it as UTF-8"):
        read_yaml_file(path)


def test_a_file_that_does_not_exist_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"no recipe at this path \(got .*nowhere.yaml\); `summtune recipes` lists"):
        read_yaml_file(tmp_path / "nowhere.yaml")


def test_a_folder_instead_of_a_recipe_file_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"a recipe is a YAML file \(got the folder .*\); give the file in it"):
        read_yaml_file(tmp_path)


def test_a_recipe_path_that_goes_through_a_file_is_reported(tmp_path):
    (tmp_path / "a.yaml").write_text("kind: prompt")
    with pytest.raises(InputError, match=r"cannot be read \(got .*b.yaml: Not a directory\); check its permissions"):
        read_yaml_file(tmp_path / "a.yaml" / "b.yaml")


def test_a_recipe_file_above_the_size_limit_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("- 1\n" * 50_000)
    with pytest.raises(InputError, match=r"exceeds 100,000 bytes \(got 200,000 bytes in .*\); is it the right file\?"):
        read_yaml_file(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("1e-4", 1e-4), ("", ""), ("null", None), ("[q, v]", ["q", "v"]), ("{a: 1}", {"a": 1}), ("a b", "a b")],
)
def test_the_value_of_an_assignment_is_read_as_yaml(text, value):
    assert read_yaml_value(text) == value


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("*a", r"not a YAML value \(got '\*a': found undefined alias 'a'\); quote it"),
        ("[1, 2", "not a YAML value"),
        ("\x01", r"not a YAML value \(got '\\x01': unacceptable character #x0001: .*\); quote it"),
        ("1\n---\n2", "found another document"),
        ("[" * 5000, "nested too deeply"),
        ("!!python/name:os.system", "YAML tags are not allowed"),
        ("{a: 1, a: 2}", "duplicate key 'a'"),
        ('"\\UFFFFFFFF"', r"not a YAML value \(got '\"\\\\UFFFFFFFF\"': .*\); quote it"),
        ('"\\U00110000"', r"not a YAML value \(got '\"\\\\U00110000\"': .*\); quote it"),
        ("9" * 5000, r"a number has at most 100 digits \(got 5000\); shorten or quote it"),
        ('"\\uD800"', r"text must not contain null characters or lone surrogates \(got '\\ud800'\); remove them"),
        ('"a\\0"', r"text must not contain null characters or lone surrogates \(got 'a\\x00'\); remove them"),
        ('{"\\uD800": 1}', r"text must not contain null characters or lone surrogates \(got '\\ud800'\); remove them"),
    ],
)
def test_an_assignment_that_is_not_a_yaml_value_is_refused(text, match):
    with pytest.raises(InputError, match=match):
        read_yaml_value(text)
