"""A substitute for the executable of vLLM: ``serve`` with the options and the API that summtune uses, on a CPU.

It is stricter than vLLM: an option or a field that it does not know is an error, so that tests see what is sent. What
it does wrong is in the environment: ``STAND_IN`` is one of the modes below, and ``STAND_IN_AFTER`` the number of
requests that it answers first.

    canned     answers every prompt without a model: its length and its seed
    exits      ends before it answers, as vLLM does when memory runs out
    hangs      never becomes healthy
    dies       ends in the middle, after some answers
    stuck      gives no answer after some answers
    stubborn   like canned, ignores SIGTERM, and has a child that ignores it, as the process of vLLM's engine may
    foreign    serves another model than it was asked to
    refuses    answers every prompt with an error
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

VERSION = "0.0-stand-in"
FIELDS = {
    "model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "stop_token_ids", "ignore_eos",
}  # fmt: skip


def write_stand_in(path, mode="", after=0):
    """Write an executable that is this module; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = f"STAND_IN={mode} STAND_IN_AFTER={after} OMP_NUM_THREADS=1"
    path.write_text(f'#!/bin/sh\n{settings} exec {sys.executable} {__file__} {path} "$@"\n')
    path.chmod(0o755)
    return path


def servers(path):
    """Return the processes that run an executable of `write_stand_in`, or keep it running."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and str(path) in process.cmdline():
                found.append(process)
    return found


def options(arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    for name in ("served-model-name", "host", "dtype", "load-format", "generation-config", "lora-modules"):
        parser.add_argument(f"--{name}")
    for name in ("port", "tensor-parallel-size", "max-model-len", "seed", "max-lora-rank"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("enable-lora", "disable-uvicorn-access-log"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args(arguments)
    assert (given.host, given.load_format, given.generation_config) == ("127.0.0.1", "safetensors", "vllm")
    return given


class Canned:
    """Answers without a model: how many tokens the prompt has, and the seed."""

    def complete(self, body):
        text = f"{len(body['prompt'])} tokens"
        if body["temperature"] > 0:
            text += f", temperature {body['temperature']}, top_p {body['top_p']}, top_k {body['top_k']}"
            text += f", seed {body['seed']}"
        else:
            assert not {"top_p", "top_k", "seed"} & body.keys()
        return text, 3, "stop"


class Real:
    """Answers as vLLM does, with transformers, one prompt at a time."""

    def __init__(self, given, lora):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch, self.lock = torch, threading.Lock()
        dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[given.dtype]
        self.tokenizer = AutoTokenizer.from_pretrained(given.model)
        self.model = AutoModelForCausalLM.from_pretrained(given.model, dtype=dtype).eval()
        if lora is not None:
            from peft import PeftModel

            rank = json.loads((Path(lora["path"]) / "adapter_config.json").read_text())["r"]
            assert rank <= given.max_lora_rank, "vLLM refuses an adapter of a higher rank"
            self.model = PeftModel.from_pretrained(self.model, lora["path"]).eval()
        self.most = given.max_model_len

    def complete(self, body):
        ids = body["prompt"]
        assert len(ids) + body["max_tokens"] <= self.most, "longer than --max-model-len"
        assert body["ignore_eos"], "vLLM would add the model's own ends to those of the request"
        sampled = body["temperature"] > 0
        settings = {key: body[key] for key in ("temperature", "top_p", "top_k")} if sampled else {}
        stops = body.get("stop", ())

        def stopped(written, _scores, **_):
            text = self.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True)
            return self.torch.tensor([any(stop in text for stop in stops)])

        from transformers import StoppingCriteriaList

        with self.lock, self.torch.inference_mode():
            self.torch.manual_seed(body.get("seed", 0))
            written = self.model.generate(
                input_ids=self.torch.tensor([ids]),
                attention_mask=self.torch.ones(1, len(ids), dtype=self.torch.long),
                max_new_tokens=body["max_tokens"],
                do_sample=sampled,
                eos_token_id=body["stop_token_ids"],
                pad_token_id=body["stop_token_ids"][0],
                stopping_criteria=StoppingCriteriaList([stopped]),
                **settings,
            )
        new = written[0, len(ids) :].tolist()
        ended = new[-1] in body["stop_token_ids"]
        text = self.tokenizer.decode(new[:-1] if ended else new, skip_special_tokens=True)
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else text, len(new), "stop" if ended or found else "length"


class Handler(BaseHTTPRequestHandler):
    """Answers requests; `main` sets what it serves."""

    protocol_version = "HTTP/1.1"
    mode, after, model, served = "", 0, None, ()
    asked = 0

    def log_message(self, *_):
        pass

    def answer(self, status, content):
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def has_key(self):
        return self.headers.get("Authorization") == f"Bearer {os.environ['VLLM_API_KEY']}"

    def do_GET(self):
        if self.path == "/health":
            self.answer(503 if self.mode == "hangs" else 200, None)
        elif self.path == "/version":
            self.answer(200, {"version": VERSION})
        elif not self.has_key():
            self.answer(401, {"error": "Unauthorized"})
        else:
            self.answer(200, {"object": "list", "data": [{"id": name, "root": root} for name, root in self.served]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.asked += 1
        if not self.has_key():
            self.answer(401, {"error": {"message": "Unauthorized"}})
        elif self.mode == "refuses" or self.path != "/v1/completions" or not body.keys() <= FIELDS:
            self.answer(400, {"error": {"message": f"not a request for {self.path}"}})
        else:
            if Handler.asked > self.after:
                self.misbehave()
            self.complete(body)

    def misbehave(self):
        if self.mode == "dies":
            print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", flush=True)
            os._exit(1)
        if self.mode == "stuck":
            time.sleep(600)

    def complete(self, body):
        text, new, reason = self.model.complete(body)
        choice = {"index": 0, "text": text, "finish_reason": reason, "stop_reason": None}
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": new}
        self.answer(200, {"id": "cmpl", "created": 0, "model": body["model"], "choices": [choice], "usage": usage})


def main():
    mode, given = os.environ["STAND_IN"], options(sys.argv[2:])
    print(f"serves {given.model}", flush=True)
    if mode == "exits":
        sys.exit("ValueError: No available memory for the cache blocks.")
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        print(f"engine {subprocess.Popen([sys.executable, '-c', child]).pid}", flush=True)
        time.sleep(0.3)
    lora = json.loads(given.lora_modules) if given.enable_lora else None
    served = [(given.served_model_name, "/another" if mode == "foreign" else given.model)]
    if lora is not None:
        served.append((lora["name"], lora["path"]))
    Handler.mode, Handler.after, Handler.served = mode, int(os.environ["STAND_IN_AFTER"]), served
    Handler.model = Canned() if mode else Real(given, lora)
    ThreadingHTTPServer((given.host, given.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
