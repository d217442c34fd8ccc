"""What fails in a worker ends the command with one message, the log's path and no traceback."""

import re
import shutil
from pathlib import Path

from real_command import layout, processes_of
from tiny_inputs import overflow


def failed(one, expected=1):
    """Return the message of a command that failed in a stage, and the log that it names."""
    code, said = one.finish()
    assert code == expected, said
    assert "Traceback" not in said
    assert said.count("error:") == 1
    message, log = re.search(r"^error: (.+)\nlog: (.+)\n\Z", said, re.MULTILINE).groups()
    assert processes_of(one.run_dir) == []
    return message, Path(log).read_text()


def test_a_loss_that_is_not_a_number_is_reported_once_for_all_processes(inputs, write_recipe, tmp_path, command):
    broken = overflow(shutil.copytree(inputs / "encoder_decoder", tmp_path / "overflowing"))
    recipe = write_recipe("overflowing", base_model=str(broken), max_steps=60)
    one = command(recipe, tmp_path / "run", *layout(num_processes=2, micro_batch_size=4))
    message, log = failed(one)
    assert re.fullmatch(
        r"the train stage failed: the training loss is not a number \(got (nan|inf) at step 1\); "
        r"lower learning_rate, .*; the changed recipe is a new run",
        message,
    )
    assert "StageError" in log
    assert not (one.run_dir / "model").exists()


def test_unreadable_weights_are_reported(inputs, write_recipe, tmp_path, command):
    broken = shutil.copytree(inputs / "encoder_decoder", tmp_path / "broken")
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    recipe = write_recipe("broken", base_model=str(broken), max_steps=1)
    message, log = failed(command(recipe, tmp_path / "run"), expected=2)
    assert message.startswith(f"the train stage failed: the model's files cannot be loaded (got {broken}: ")
    assert "ModelError" in log
