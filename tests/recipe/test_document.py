"""A recipe as it was written, and values laid over it."""

import pytest

from summtune.base.errors import InputError
from summtune.recipe.document import Document, key_path
from summtune.recipe.yaml_reader import read_yaml


def document():
    return read_yaml("seed: 1\ndatasets:\n  - path: a\n    limit: 3\n", "a.yaml")


def test_a_value_is_laid_over_a_key_a_section_or_an_item():
    laid = document()
    laid.assign("seed", 7, "--set seed=7")
    laid.assign("generation.num_beams", 4, "--set generation.num_beams=4")
    laid.assign("datasets.0.limit", 9, "--set datasets.0.limit=9")
    assert laid.value == {"seed": 7, "datasets": [{"path": "a", "limit": 9}], "generation": {"num_beams": 4}}
    assert str(laid.problem(("datasets", 0, "limit"), "odd")) == "--set datasets.0.limit=9: odd"
    assert str(laid.problem(("generation",), "odd")) == "--set generation.num_beams=4: odd"
    assert laid.overridden == [("seed",), ("generation", "num_beams"), ("datasets", 0, "limit")]


def test_a_new_list_has_none_of_the_old_places():
    laid = document()
    laid.assign("datasets", [{"path": "b"}], "--set datasets=…")
    assert str(laid.problem(("datasets", 0, "limit"), "odd")) == "--set datasets=…: odd"


def test_null_takes_a_key_away():
    laid = document()
    laid.assign("datasets.0.limit", None, "--set datasets.0.limit=null")
    assert laid.value == {"seed": 1, "datasets": [{"path": "a"}]}


def test_a_value_that_is_laid_over_two_recipes_is_not_shared():
    value = [{"path": "b"}]
    first, second = document(), document()
    first.assign("datasets", value, "override")
    second.assign("datasets", value, "override")
    first.assign("datasets.0.path", "c", "override")
    assert second.value["datasets"] == value == [{"path": "b"}]


@pytest.mark.parametrize(
    ("dotted", "match"),
    [
        ("datasets.1.limit", r"^--set: the list ends before this item \(got datasets.1, it has 1\); count from 0"),
        ("datasets.4", r"the list ends before this item \(got datasets.4, it has 1\)"),
        ("datasets.-1", r"not inside a section or a list \(got datasets.-1\)"),
        ("datasets.²", r"not inside a section or a list \(got datasets.²\)"),
        ("datasets.first.path", r"not inside a section or a list \(got datasets.first\); use the dotted path of a key"),
        ("seed.x", r"not inside a section or a list \(got seed.x\)"),
        ("seed.x.y", r"not inside a section or a list \(got seed.x\)"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(dotted, match):
    with pytest.raises(InputError, match=match):
        document().assign(dotted, 1, "--set")


@pytest.mark.parametrize(
    ("dotted", "held"),
    [
        ("seed", True),
        ("datasets.0.limit", True),
        ("datasets.0", True),
        ("datasets.1", False),
        ("seed.x", False),
        ("x", False),
    ],
)
def test_whether_a_value_stands_there(dotted, held):
    assert document().holds(dotted) is held


@pytest.mark.parametrize("part", ["9" * 5000, "²", "٣", "-1", "+1", "1_0", " 1", "", "1e0"])
def test_what_counts_no_item_of_a_list_is_told(part):
    document = Document("a.yaml", {"datasets": [{"path": "x"}, {"path": "y"}]})
    assert not document.holds(f"datasets.{part}.path")
    with pytest.raises(InputError, match="not inside a section or a list"):
        document.assign(f"datasets.{part}.path", "z", "--set")


def test_the_parts_of_a_dotted_key_are_names_and_numbers_of_items():
    assert key_path("datasets.01.path") == ("datasets", 1, "path")
    assert key_path("a.²." + "9" * 5000) == ("a", "²", "9" * 5000)
