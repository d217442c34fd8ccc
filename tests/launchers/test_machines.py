"""Several machines without a scheduler: their ranks, how they meet, and how failures are reported."""

import socket
import sys
import threading

import pytest
from made_up_recipes import made_up_plan

from summtune.base.errors import InputError, StageError, StageStopped
from summtune.base.files import write_json
from summtune.launchers import local, machines
from summtune.launchers.line import Line
from summtune.launchers.local import MachineRank
from summtune.launchers.machines import OtherMachines, commands, join, this_machine
from summtune.plan.launch import Launch

LAUNCH = Launch(distribution="data_parallel", processes=2, machines=2, device="cpu", config_file="accelerate.yaml")
MINE, THEIRS = "a" * 64, "b" * 64


@pytest.fixture
def environment(monkeypatch):
    """Set the variables that describe this machine."""

    def set_to(**variables):
        for key in ("MACHINE_RANK", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(key, raising=False)
        for key, value in variables.items():
            monkeypatch.setenv(key, value)

    return set_to


def test_the_environment_says_which_machine_this_is(environment):
    environment()
    assert this_machine(2) is None
    environment(MACHINE_RANK="1", MASTER_ADDR="first")
    assert this_machine(2) == MachineRank(1, "first", 29500)
    environment(MACHINE_RANK="0", MASTER_ADDR="first", MASTER_PORT="1234")
    assert this_machine(2) == MachineRank(0, "first", 1234)


@pytest.mark.parametrize(
    ("variables", "match"),
    [
        ({"MACHINE_RANK": "2", "MASTER_ADDR": "x"}, r"a number from 0 to 1 \(got '2'\); num_machines is 2"),
        ({"MACHINE_RANK": "first", "MASTER_ADDR": "x"}, r"a number from 0 to 1 \(got 'first'\)"),
        ({"MACHINE_RANK": "²", "MASTER_ADDR": "x"}, r"a number from 0 to 1 \(got '²'\)"),
        ({"MACHINE_RANK": "9" * 5000, "MASTER_ADDR": "x"}, r"a number from 0 to 1 \(got '9{59}\)"),
        ({"MACHINE_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "²"}, r"from 1 to 65535 \(got '²'\)"),
        ({"MACHINE_RANK": "1"}, r"MACHINE_RANK needs MASTER_ADDR \(got MACHINE_RANK=1 alone\)"),
        ({"MACHINE_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "ssh"}, r"a port from 1 to 65535 \(got 'ssh'\)"),
        ({"MACHINE_RANK": "1", "MASTER_ADDR": "x", "MASTER_PORT": "70000"}, r"from 1 to 65535 \(got '70000'\)"),
    ],
)
def test_an_invalid_environment_is_refused(environment, variables, match):
    environment(**variables)
    with pytest.raises(InputError, match=match):
        this_machine(2)


def test_commands_lists_one_command_per_machine(environment, tmp_path, monkeypatch):
    folder = tmp_path / "my runs"
    folder.mkdir()
    monkeypatch.chdir(folder)
    environment(MASTER_ADDR="10.0.0.1")
    assert commands(2, ["summtune", "run", "a b.yaml"]) == [
        f"cd '{folder}' && MASTER_ADDR=10.0.0.1 MASTER_PORT=29500 MACHINE_RANK={rank} summtune run 'a b.yaml'"
        for rank in (0, 1)
    ]
    environment()
    assert f"MASTER_ADDR={socket.gethostname()} " in commands(2, ["x"])[0]


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Let the machines run the given programs in the place of accelerate, each in a folder that both see."""
    write_json(tmp_path / "plan.json", made_up_plan(predict=LAUNCH).to_json())
    monkeypatch.setattr(machines, "_RETRY_SECONDS", 0.05)
    started = []

    def of(*by_rank):
        def command(launch, run_dir, stages, machine):
            started.append((machine, list(stages)))
            return [sys.executable, "-c", by_rank[machine.rank]]

        monkeypatch.setattr(local, "command", command)
        return started

    return of


class Other(threading.Thread):
    """Another machine, in a separate thread."""

    def __init__(self, machine, identity=MINE, complete=lambda: False):
        super().__init__(daemon=True)
        self.arguments = (machine, identity, lambda event: None, complete)
        self.error = None
        self.start()

    def run(self):
        try:
            join(*self.arguments)
        except Exception as error:
            self.error = error

    def ended(self):
        self.join(30)
        assert not self.is_alive()
        return self.error


def first(port, count=2):
    return OtherMachines(MachineRank(0, "127.0.0.1", port), count, MINE)


def test_stages_run_on_every_machine_and_meet_at_one_port(programs, port, tmp_path):
    started = programs("", "")
    heard = []
    other = Other(MachineRank(1, "127.0.0.1", port))
    with first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], heard.append)
        others.run_everywhere(LAUNCH, tmp_path, ["predict"], heard.append)
    assert other.ended() is None
    assert [event["text"] for event in heard] == [f"waiting for machine 1 at 127.0.0.1:{port}"]
    assert sorted((machine.rank, stages) for machine, stages in started) == [
        (0, ["predict"]), (0, ["train"]), (1, ["predict"]), (1, ["train"]),
    ]  # fmt: skip
    ports = {tuple(stages): set() for _, stages in started}
    for machine, stages in started:
        assert machine.address == "127.0.0.1"
        ports[tuple(stages)].add(machine.port)
    assert [len(same) for same in ports.values()] == [1, 1]
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {f"launcher.machine{rank}.log" for rank in (0, 1)}


def test_a_machine_that_fails_is_named_and_ends_the_others(programs, port, tmp_path):
    programs("import time; time.sleep(60)", "import sys; sys.exit(3)")
    other = Other(MachineRank(1, "127.0.0.1", port))
    with (
        pytest.raises(StageError, match=r"on machine 1: the train stage failed: .*exit code 3") as caught,
        first(port) as others,
    ):
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    assert caught.value.log == str(tmp_path / "logs" / "launcher.machine1.log")
    assert "exit code 3" in str(other.ended())


def test_machines_end_when_the_first_one_fails(programs, port, tmp_path):
    programs("import sys, time; time.sleep(1); sys.exit(3)", "import time; time.sleep(60)")
    other = Other(MachineRank(1, "127.0.0.1", port))
    with pytest.raises(StageError, match=r"^the train stage failed"), first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    assert "machine 0 ended before the run was complete (got the end of its connection)" in str(other.ended())


def test_machines_that_stop_are_waited_for_and_can_join_again(programs, port, tmp_path):
    started = programs("import sys; sys.exit(75)", "import sys, time; time.sleep(1); sys.exit(75)")
    other = Other(MachineRank(1, "127.0.0.1", port))
    with pytest.raises(StageStopped, match="the train stage was asked to stop"), first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    assert isinstance(other.ended(), StageStopped)
    programs("", "")
    other = Other(MachineRank(1, "127.0.0.1", port))
    with first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    assert other.ended() is None
    assert len(started) == 4


def test_a_machine_that_disconnects_is_named(programs, port, tmp_path):
    programs("import time; time.sleep(60)")

    def connect_and_disconnect():
        line = machines._connect(MachineRank(1, "127.0.0.1", port), lambda event: None, lambda: False)
        line.send({"machine": 1, "identity": MINE})
        assert line.next(30)["stages"] == ["train"]
        line.close()

    thread = threading.Thread(target=connect_and_disconnect)
    thread.start()
    match = r"machine 1 .*\(got the end of its connection\)"
    with pytest.raises(StageError, match=match), first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    thread.join()


def test_a_machine_that_does_not_report_its_end_is_named(programs, port, tmp_path, monkeypatch):
    programs("", "import time; time.sleep(60)")
    monkeypatch.setattr(machines, "_END_SECONDS", 0.2)
    other = Other(MachineRank(1, "127.0.0.1", port))
    match = r"the train stage .*\(got nothing from machine 1\); give the same commands again"
    with pytest.raises(StageError, match=match), first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    assert isinstance(other.ended(), StageError)


def test_a_machine_that_does_not_connect_is_named(programs, port, tmp_path, monkeypatch):
    monkeypatch.setattr(machines, "_GATHER_SECONDS", 2.0)
    other = Other(MachineRank(2, "127.0.0.1", port))
    heard = []
    match = rf"in 0 minutes \(got nothing from machine 1 at 127.0.0.1:{port}\); start the command there"
    with pytest.raises(StageError, match=match), first(port, count=3) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], heard.append)
    texts = [event["text"] for event in heard]
    assert texts == [f"waiting for {which} at 127.0.0.1:{port}" for which in ("machines 1, 2", "machine 1")]
    assert "machine 0 ended" in str(other.ended())


@pytest.mark.parametrize(
    ("machine", "identity", "refusal"),
    [
        (1, THEIRS, "(got bbbbbbbb on this machine, aaaaaaaa on machine 0); use the same recipe"),
        (0, MINE, "another machine has this number (got MACHINE_RANK=0)"),
    ],
)
def test_a_machine_with_another_recipe_or_a_taken_rank_is_refused(programs, port, tmp_path, machine, identity, refusal):
    programs("", "")
    wrong = Other(MachineRank(machine, "127.0.0.1", port), identity)
    with socket.socket():  # a port scanner
        threading.Thread(target=lambda: Line(_connected(port)).close(), daemon=True).start()
    thread = threading.Timer(1.0, lambda: Other(MachineRank(1, "127.0.0.1", port)))
    thread.start()
    with first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    error = wrong.ended()
    assert isinstance(error, InputError)
    assert refusal in str(error)


def _connected(port):
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            continue


def test_machines_without_a_shared_file_system_are_refused(programs, port, tmp_path):
    programs("import time; time.sleep(60)", "")
    other = Other(MachineRank(1, "127.0.0.1", port))
    (tmp_path / "plan.json").unlink()
    match = r"on machine 1: .* share no file system \(got no .*\); use an --output-dir that all of"
    with pytest.raises(StageError, match=match), first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)
    assert isinstance(other.ended(), InputError)


def test_a_taken_port_is_reported(port, tmp_path):
    taken = socket.create_server(("", port))
    match = rf"machine 0 cannot listen \(got MASTER_PORT={port}: .*\); choose another port, the same on all machines"
    with taken, pytest.raises(InputError, match=match), first(port) as others:
        others.run_everywhere(LAUNCH, tmp_path, ["train"], lambda event: None)


def test_joining_a_complete_run_returns_at_once(port):
    assert Other(MachineRank(1, "127.0.0.1", port), complete=lambda: True).ended() is None


def test_a_machine_that_waits_for_machine_0_says_so(port, monkeypatch):
    monkeypatch.setattr(machines, "_RETRY_SECONDS", 0.01)
    looks = iter([False, False, True])
    heard = []
    join(MachineRank(1, "127.0.0.1", port), MINE, heard.append, lambda: next(looks))
    assert [event["text"] for event in heard] == [f"waiting for machine 0 at 127.0.0.1:{port} (Connection refused)"]
