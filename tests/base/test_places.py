"""Bundled files are found in the package."""

from summtune.base.places import model_folder, package_path


def test_the_builtin_model_is_a_folder_of_the_package():
    assert model_folder("builtin/flan-t5-nano") == package_path("assets/flan-t5-nano")
