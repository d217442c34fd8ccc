"""Runs the real command in a separate process, and reads its output and its run directory."""

import os
import signal
import subprocess
import time
from pathlib import Path

from installed_command import command_words

from summtune.base.files import read_json, read_jsonl


def processes_of(run_dir):
    """Return the ids of the processes that name a run directory in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(run_dir).encode() in arguments:
            found.append(int(path.parent.name))
    return found


def workers_of(run_dir):
    """Return the ids of the worker processes, in the order in which they were started."""
    found = []
    for pid in sorted(processes_of(run_dir)):
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        # A single worker is its launcher, and its config says so.
        single = (
            "summtune.work.process.launch" in arguments[1:4]
            and "distributed_type: 'NO'" in Path(arguments[4]).read_text()
        )
        if "summtune.worker" in arguments[1:5] or single:
            found.append(pid)
    return found


def wait_until(condition, seconds=180, what="it"):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {seconds} s"
        time.sleep(0.005)


class Command:
    """One ``summtune run`` in a separate process group, on the CPU unless ``gpu`` is set.

    Tests compare runs of one recipe side by side, so a new run reuses nothing of another unless it ``reuses``.
    """

    def __init__(self, recipe, run_dir, *options, reuses=False, gpu=False):
        self.run_dir = run_dir
        if not reuses and "--smoke" not in options and not (run_dir / "plan.json").exists():
            options = (*options, "--fresh")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        environment |= {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [*command_words(), "run", recipe, "--output-dir", run_dir, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=recipe.parent,
            start_new_session=True,
        )

    def send(self, number):
        os.kill(self.process.pid, number)

    def kill_everything(self):
        """Kill the command and all its processes at once, like a power failure."""
        started = processes_of(self.run_dir)
        for pid in [self.process.pid, *started]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.communicate()
        wait_until(lambda: not processes_of(self.run_dir), 20, "the end of all processes")

    def finish(self, seconds=280):
        """Wait for the end; return the exit code and the output."""
        said, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, said


class Finished:
    """The run directory of a finished run."""

    def __init__(self, folder, said=""):
        self.folder = folder
        self.said = said

    @property
    def steps(self):
        return [row for row in read_jsonl(self.folder / "train_log.jsonl") if "loss" in row]

    @property
    def started(self):
        """The stages that workers have started."""
        events = self.folder / "logs" / "events.jsonl"
        return [row["stage"] for row in (read_jsonl(events) if events.exists() else ()) if row["event"] == "started"]

    @property
    def losses(self):
        return [(row["step"], row["loss"], row["grad_norm"]) for row in self.steps]

    @property
    def evaluations(self):
        rows = read_jsonl(self.folder / "train_log.jsonl")
        return {row["step"]: row["eval_loss"] for row in rows if "eval_loss" in row}

    @property
    def texts(self):
        return {row["id"]: row["prediction"] for row in read_jsonl(self.folder / "predictions.jsonl")}

    @property
    def weights(self):
        from safetensors.torch import load_file

        (path,) = (self.folder / "model").glob("*.safetensors")
        return load_file(path)

    def json(self, name):
        return read_json(self.folder / name)


def same_weights(one, other):
    """Return whether two sets of weights are bitwise the same."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run_to_the_end(recipe, run_dir, *options, **how):
    """Run a recipe, which must succeed, and return its run directory; see `Command` for ``how``."""
    code, said = Command(recipe, run_dir, *options, **how).finish()
    assert code == 0, said + logs_of(run_dir)
    assert processes_of(run_dir) == []
    return Finished(run_dir, said)


def logs_of(run_dir):
    return "".join(
        f"\n--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted((run_dir / "logs").glob("*.log"))
    )


def layout(**keys):
    """Return the options that override keys of a recipe."""
    return [option for key, value in keys.items() for option in ("--set", f"{key}={value}")]


def loss_by_transformers(model, run, family="encoder_decoder"):
    """Return the mean loss of the held-out target tokens, by a model that was loaded without summtune."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.folder / "model")
    total, tokens = 0.0, 0
    for row in read_jsonl(run.folder / "data" / "validation.jsonl"):
        prompt = f"Summarize the following conversation.\n\n{row['dialogue']}\n\nSummary:"
        (summary,) = row["references"]
        inputs, labels = _INPUTS[family](tokenizer, prompt, summary)
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([inputs]), labels=torch.tensor([labels])).loss
        scored = sum(label != -100 for label in labels)
        total, tokens = total + float(loss) * scored, tokens + scored
    return total / tokens


def _of_encoder_decoder(tokenizer, prompt, summary):
    return tokenizer(prompt)["input_ids"], tokenizer(summary)["input_ids"]


def _of_decoder_only(tokenizer, prompt, summary):
    turns = [{"role": "user", "content": prompt}]
    opened = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": summary}], tokenize=False)
    start, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (opened, whole.rstrip("\n")))
    assert ids[: len(start)] == start
    return ids, [-100] * len(start) + ids[len(start) :]  # transformers shifts them itself


_INPUTS = {"encoder_decoder": _of_encoder_decoder, "decoder_only": _of_decoder_only}
