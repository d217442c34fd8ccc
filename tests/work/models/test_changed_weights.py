import pytest
import torch
from safetensors.torch import save_file

from summtune.work.models.changed_weights import unchanged_weights


@pytest.fixture
def folders(tmp_path):
    def write(name, **files):
        (tmp_path / name).mkdir()
        for file, tensors in files.items():
            save_file(tensors, tmp_path / name / f"{file}.safetensors")
        return tmp_path / name

    return write


def test_equal_tensors_are_counted_over_all_files(folders):
    base = folders(
        "base", one={"a": torch.ones(3), "b": torch.zeros(2)}, two={"c": torch.ones(1), "only_here": torch.ones(1)}
    )
    trained = folders(
        "trained", model={"a": torch.ones(3), "b": torch.tensor([0.0, 1e-30]), "c": torch.ones(1), "new": torch.ones(1)}
    )
    assert unchanged_weights(trained, base) == {"unchanged_tensors": 2, "compared_tensors": 3}


def test_tensors_are_compared_in_the_precision_of_the_trained_model(folders):
    """Weights that were read from bf16 are the same in fp32, and fp32 weights stored in bf16 lose their last bits."""
    exact = torch.tensor([0.1, 3.0])
    rounded = exact.to(torch.bfloat16)
    base = folders("base", model={"a": rounded, "b": exact, "c": rounded.clone()})
    trained = folders("trained", model={"a": rounded.float(), "b": rounded, "c": exact})
    assert unchanged_weights(trained, base) == {"unchanged_tensors": 2, "compared_tensors": 3}


def test_an_adapter_has_no_tensor_to_compare_with_its_base(folders):
    base = folders("base", model={"q.weight": torch.ones(2)})
    adapter = folders("trained", adapter_model={"base_model.q.lora_A.weight": torch.ones(2)})
    assert unchanged_weights(adapter, base) == {"unchanged_tensors": None, "compared_tensors": None}


def test_a_tensor_of_another_shape_counts_as_changed(folders):
    base = folders("base", model={"a": torch.ones(2)})
    assert unchanged_weights(folders("trained", model={"a": torch.ones(3)}), base)["unchanged_tensors"] == 0


def test_training_writes_both_counts(trained, uninterrupted):
    facts = uninterrupted.training
    assert 0 <= facts["unchanged_tensors"] < facts["compared_tensors"]
    still = trained("still", learning_rate=1e-30, num_epochs=1).training
    assert still["unchanged_tensors"] == still["compared_tensors"] == facts["compared_tensors"]
