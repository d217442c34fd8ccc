"""Imports run with the garbage collector off, which is restored afterwards."""

import gc
import importlib.util
import sys

import pytest

from summtune.work.process.importing import leave_out, uncollected


@pytest.fixture(autouse=True)
def as_before():
    enabled = gc.isenabled()
    yield
    gc.unfreeze()
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_is_off_during_imports_and_restored_afterwards(enabled):
    (gc.enable if enabled else gc.disable)()
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled() is enabled


def test_imported_objects_are_excluded_from_collections():
    gc.unfreeze()
    with uncollected():
        kept = [[] for _ in range(1000)]
    assert gc.get_freeze_count() > len(kept)


def test_a_failed_import_leaves_the_collector_on():
    gc.enable()
    with pytest.raises(ImportError, match="no such thing"), uncollected():
        raise ImportError("no such thing")
    assert gc.isenabled()


def test_a_package_that_is_left_out_seems_not_to_be_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    leave_out(["wave", "gc"])
    assert importlib.util.find_spec("wave") is None
    assert sys.modules.pop("wave") is None
    assert sys.modules["gc"] is gc
