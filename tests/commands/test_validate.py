"""Every problem of every recipe is reported, also with overrides."""

from in_process import call


def test_an_override_is_checked_in_every_recipe(project):
    done = call("validate", "prompt.yaml", "train.yaml", "--set", "seed=yes", "--set", "sede=1")
    assert done.code == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    for line in (lines[0], lines[2]):
        assert line == "--set seed=yes: seed must be a whole number (got 'yes')"
    for line in (lines[1], lines[3]):
        assert line.startswith("--set sede=1: unknown key 'sede', did you mean seed?")


def test_an_override_can_correct_a_recipe(project):
    (project / "train.yaml").write_text((project / "train.yaml").read_text().replace("1e-3", "1000"))
    assert call("validate", "train.yaml").code == 2
    done = call("validate", "train.yaml", "--set", "learning_rate=1e-3")
    assert (done.code, done.stderr) == (0, "train.yaml: valid\n")


def test_an_override_is_reported_for_the_recipe_that_does_not_read_it(project):
    done = call("validate", "prompt.yaml", "train.yaml", "--set", "num_epochs=2")
    assert done.code == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("--set num_epochs=2: num_epochs has no effect in `kind: prompt`")
    assert second == "train.yaml: valid"


def test_a_displaced_key_is_reported_with_its_line(project):
    (project / "train.yaml").write_text((project / "train.yaml").read_text() + "num_epochs: 2\n")
    done = call("validate", "train.yaml", "both.yaml", "--set", "max_steps=5")
    assert done.code == 0
    assert done.stderr.splitlines() == [
        "--set max_steps=5 displaces num_epochs of train.yaml:7",
        "train.yaml: valid",
        f"--set max_steps=5 displaces num_epochs of {project}/train.yaml:7",
        "both.yaml: valid",
    ]
