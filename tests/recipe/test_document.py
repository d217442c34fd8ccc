"""A recipe as it was written, and values assigned to its keys."""

import pytest

from summtune.base.errors import InputError
from summtune.recipe.document import Document, key_path
from summtune.recipe.yaml_reader import read_yaml


def document():
    return read_yaml("seed: 1\ndatasets:\n  - path: a\n    limit: 3\n", "a.yaml")


def test_assign_sets_a_key_a_section_or_a_list_item():
    laid = document()
    laid.assign("seed", 7, "--set seed=7")
    laid.assign("generation.num_beams", 4, "--set generation.num_beams=4")
    laid.assign("datasets.0.limit", 9, "--set datasets.0.limit=9")
    assert laid.value == {"seed": 7, "datasets": [{"path": "a", "limit": 9}], "generation": {"num_beams": 4}}
    assert str(laid.problem(("datasets", 0, "limit"), "odd")) == "--set datasets.0.limit=9: odd"
    assert str(laid.problem(("generation",), "odd")) == "--set generation.num_beams=4: odd"
    assert laid.overridden == [("seed",), ("generation", "num_beams"), ("datasets", 0, "limit")]


def test_an_assigned_list_drops_the_positions_of_the_old_items():
    laid = document()
    laid.assign("datasets", [{"path": "b"}], "--set datasets=…")
    assert str(laid.problem(("datasets", 0, "limit"), "odd")) == "--set datasets=…: odd"


def test_assigning_null_removes_the_key():
    laid = document()
    laid.assign("datasets.0.limit", None, "--set datasets.0.limit=null")
    assert laid.value == {"seed": 1, "datasets": [{"path": "a"}]}


def test_two_documents_do_not_share_an_assigned_value():
    value = [{"path": "b"}]
    first, second = document(), document()
    first.assign("datasets", value, "override")
    second.assign("datasets", value, "override")
    first.assign("datasets.0.path", "c", "override")
    assert second.value["datasets"] == value == [{"path": "b"}]


@pytest.mark.parametrize(
    ("dotted", "match"),
    [
        ("datasets.1.limit", r"^--set: the list has no such item \(got datasets.1, length 1\); count from 0"),
        ("datasets.4", r"the list has no such item \(got datasets.4, length 1\)"),
        ("datasets.-1", r"not inside a section or a list \(got datasets.-1\)"),
        ("datasets.²", r"not inside a section or a list \(got datasets.²\)"),
        ("datasets.first.path", r"not inside a section or a list \(got datasets.first\); use the dotted path of a key"),
        ("seed.x", r"not inside a section or a list \(got seed.x\)"),
        ("seed.x.y", r"not inside a section or a list \(got seed.x\)"),
    ],
)
def test_a_path_that_does_not_exist_is_reported(dotted, match):
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
def test_holds_says_whether_the_path_has_a_value(dotted, held):
    assert document().holds(dotted) is held


@pytest.mark.parametrize("part", ["9" * 5000, "²", "٣", "-1", "+1", "1_0", " 1", "", "1e0"])
def test_a_part_that_is_not_an_index_is_refused_in_a_list(part):
    document = Document("a.yaml", {"datasets": [{"path": "x"}, {"path": "y"}]})
    assert not document.holds(f"datasets.{part}.path")
    with pytest.raises(InputError, match="not inside a section or a list"):
        document.assign(f"datasets.{part}.path", "z", "--set")


def test_key_path_turns_list_indices_into_numbers():
    assert key_path("datasets.01.path") == ("datasets", 1, "path")
    assert key_path("a.²." + "9" * 5000) == ("a", "²", "9" * 5000)
