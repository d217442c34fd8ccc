"""Processes that cannot be divided, time limits that are too short, and options that would break a Slurm job."""

import pytest
from made_up_recipes import train_recipe

from summtune.base.errors import RecipeError
from summtune.recipe.launching_rules import check_launching
from summtune.recipe.loading import load_recipe


def findings(wrong=(), **keys):
    recipe = train_recipe(**keys)
    return [(".".join(map(str, path)), message) for path, message in check_launching(recipe, wrong)]


def of_slurm(wrong=(), processes=None, **slurm):
    return findings(wrong, launcher="slurm", slurm=slurm, num_processes=processes)


@pytest.mark.parametrize("time", ["30", "30:00", "12:00:00", "3-00", "3-12:30", "1-00:00:01", "UNLIMITED", "0", "2:01"])
def test_time_limits_that_sbatch_accepts_are_accepted(time):
    assert of_slurm(time=time) == []


@pytest.mark.parametrize("time", ["12h", "1:2:3:4", "-1", "3-", "", "12:00:00 ", "١٢", "30\n", "1234567890"])
def test_time_limits_that_sbatch_rejects_are_reported(time):
    assert of_slurm(time=time) == [
        ("slurm.time", f"slurm.time is not a valid time limit (got {time!r}); write '12:00:00' or '3-00'")
    ]


@pytest.mark.parametrize(
    ("time", "stop"),
    [("2", 120), ("1:00", 60), ("0:02:00", 120), ("60", 3600), ("60:00", 3600), ("0-01", 3600), ("0-1:00", 3600)],
)
def test_a_time_limit_within_stop_seconds_is_reported(time, stop):
    assert of_slurm(time=time, stop_seconds=stop) == [
        (
            "slurm.time",
            "slurm.time must be longer than stop_seconds, or the job is stopped before it starts (got "
            f"{time!r} with stop_seconds: {stop}); write hours, minutes and seconds as '12:00:00'",
        )
    ]
    assert of_slurm(time=time, stop_seconds=stop - 1) == []


def test_a_time_limit_of_thousands_of_digits_is_shortened_in_the_message():
    ((key, message),) = of_slurm(time="9" * 5000)
    assert (key, len(message) < 200) == ("slurm.time", True)


@pytest.mark.parametrize("key", ["partition", "account", "gpu_type"])
@pytest.mark.parametrize(
    "value", ["a\nrm -rf x", "a b", "a --wrap=x", "a\x1b[2J", 'a"', "a'", "a\\", "a#b", "\x0b", "a\x85b"]
)
def test_a_name_that_would_break_its_line_of_the_script_is_reported(key, value):
    told = f"slurm.{key} is one word (got {value!r}); write the name as the cluster knows it"
    assert of_slurm(**{key: value}, gpus_per_node=1) == [(f"slurm.{key}", told)]


def test_an_empty_partition_is_reported():
    assert of_slurm(partition="") == [
        ("slurm.partition", "slurm.partition is one word (got ''); write the name as the cluster knows it")
    ]


@pytest.mark.parametrize("key", ["partition", "account", "gpu_type"])
def test_names_with_commas_dashes_and_colons_are_accepted(key):
    assert of_slurm(**{key: "gpu-a100,gpu_h100:x.y"}, gpus_per_node=1) == []


@pytest.mark.parametrize("value", ['a"\n', "a\nid", "a\rb", "a\\"])
def test_a_constraint_that_would_break_out_of_its_quotes_is_reported(value):
    assert of_slurm(constraint=value) == [
        ("slurm.constraint", f"slurm.constraint is one line without quotes or backslashes (got {value!r}); remove them")
    ]


def test_a_constraint_of_several_features_is_accepted():
    assert of_slurm(constraint="[rack1*2&rack2*4] | (a100 & 'x')") == []


@pytest.mark.parametrize("entry", ["--mem=2G\nrm -rf x", "--mem=2G\r", "--mem=\x1b[2J", "--mem=2G\u2028x"])
def test_an_extra_option_with_a_line_end_is_reported(entry):
    assert of_slurm(extra=["--qos=long", entry]) == [
        (
            "slurm.extra.1",
            f"slurm.extra takes one option per item (got {entry!r}); write each as a separate item, and shell lines in "
            "slurm.setup",
        )
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "--mem=200G", "--mem=0 --exclusive", "--exclude=node-7", "--qos=long", "--hold", "--job-name=mine",
        "--cpus-per-gpu=8", "--mem-per-gpu=40G", "--gres=nvme:1", "--comment='-n, as in night'", "--comment=it's",
    ],
)  # fmt: skip
def test_extra_options_that_do_not_conflict_are_accepted(entry):
    assert of_slurm(extra=[entry]) == []


@pytest.mark.parametrize(
    ("entry", "advice"),
    [
        ("--requeue", "remove it: a job requeues itself after it has saved a checkpoint"),
        ("--no-requeue", "remove it: a job requeues itself after it has saved a checkpoint"),
        ("--signal=TERM@60", "set slurm.stop_seconds"),
        ("--output=/dev/null", "remove it: the job's output is written to the run directory"),
        ("-o out", "remove it: the job's output is written to the run directory"),
        ("--error=err", "remove it: the job's output is written to the run directory"),
        ("-eerr", "remove it: the job's output is written to the run directory"),
        ("--open-mode=truncate", "remove it: the job's output is written to the run directory"),
        ("--nodes=4", "set slurm.nodes"),
        ("-N4", "set slurm.nodes"),
        ("--ntasks=8", "remove it: each node runs one task, which starts the processes"),
        ("--ntasks-per-node=8", "remove it: each node runs one task, which starts the processes"),
        ("-n 8", "remove it: each node runs one task, which starts the processes"),
        ("--array=0-3", "remove it: a run is one job"),
        ("--partition gpu", "set slurm.partition"),
        ("-pgpu", "set slurm.partition"),
        ("--account=lab", "set slurm.account"),
        ("-A lab", "set slurm.account"),
        ("--mem=0 --time=1:00:00", "set slurm.time"),
        ("-t 60", "set slurm.time"),
        ("--constraint='a100&ib'", "set slurm.constraint"),
        ("-C ib", "set slurm.constraint"),
        ("--cpus-per-task=8", "set slurm.cpus_per_node"),
        ("-c 8", "set slurm.cpus_per_node"),
        ("#SBATCH --mem=0", "write the option without #SBATCH"),
        *(
            (entry, "set slurm.gpus_per_node (and gpu_type): without it, stages run on the CPU")
            for entry in ("--gres=gpu:a100:4", "--gres gpu:4", "--gpus=8", "-G 8", "--gpus-per-node=a100:4")
        ),
    ],
)
def test_an_extra_option_that_would_break_the_job_is_reported_with_the_alternative(entry, advice):
    assert of_slurm(extra=["--qos=long", entry]) == [
        ("slurm.extra.1", f"slurm.extra must not contain this (got {entry!r}); {advice}")
    ]


def test_gres_is_refused_with_gpus_per_node_because_it_would_replace_the_gpus():
    ((path, message),) = of_slurm(gpus_per_node=4, extra=["--gres=nvme:1"])
    assert path == "slurm.extra.0"
    assert "(got '--gres=nvme:1'); set slurm.gpus_per_node" in message


def test_processes_must_divide_evenly_over_the_machines():
    assert findings(num_processes=6, num_machines=3) == []
    ((path, message),) = findings(num_processes=4, num_machines=3)
    assert path == "num_processes"
    assert message.endswith("(got 4 for 3 machines); make it a multiple of 3")
    assert of_slurm(processes=4, nodes=2, gpus_per_node=4) == []
    ((_, message),) = of_slurm(processes=3, nodes=2)
    assert "(got 3 for 2 nodes); make it a multiple of 2" in message


def test_more_processes_than_requested_gpus_are_reported():
    assert of_slurm(processes=8, nodes=2, gpus_per_node=4) == []
    ((path, message),) = of_slurm(processes=9, nodes=2, gpus_per_node=4)
    assert path == "num_processes"
    assert "(got 9, 2 × 4); remove it" in message


def test_rules_that_depend_on_an_invalid_key_are_skipped():
    assert findings(num_processes=4, num_machines=3, wrong={"num_machines"}) == []


def test_launching_problems_have_their_line_in_the_file(project):
    path = project / "train.yaml"
    text = path.read_text().replace("num_processes: 1", "num_processes: 3")
    path.write_text(f"{text}launcher: slurm\nslurm:\n  nodes: 2\n  extra:\n    - --mem=0\n    - --requeue\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    lines = path.read_text().splitlines()
    found = [(lines[problem.line - 1].strip(), problem.message[:28]) for problem in caught.value.problems]
    assert found == [
        ("num_processes: 3", "num_processes is the total, "),
        ("- --requeue", "slurm.extra must not contain"),
    ]
