"""What a turn of a model behind an API costs here: episodes a second against a server on this machine of no latency.

    python -m benchmarks.api
    python -m benchmarks.api --clients plain --concurrency 512
    python -m benchmarks.api --verifiers VENV/bin/python      verifiers 0.2.1, in an environment of its own

Ten turns an episode, the whole growing conversation in each call, a fixed reply of 64 tokens with their log-probs. The
server is a process of its own and the same for all. Prints episodes a second (which the machine's other work lowers)
and milliseconds of processor time a turn (which it hardly does). Goals, with the whole runner: 0.8 ms a turn with the
plain transport, 1.2 ms more with the openai package, ten times verifiers' episodes a second at 512, four times at 64.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TURNS = 10
SEEN = "observation: you are in a room. " * 12
REPLY = "<action>go to desk 1</action>"
WARM_UP = 20
"""Episodes that are not timed."""


class Served(asyncio.Protocol):
    """Answers every call at once with the same bytes."""

    answer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head = self.data[:end].lower()
            place = head.find(b"content-length:")
            size = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.data) < end + 4 + size:
                return
            self.data = self.data[end + 4 + size :]
            self.transport.write(Served.answer)


async def serve() -> None:
    """Print the port, and answer until the process is ended."""
    tokens = [{"token": f"t{n}", "logprob": -1.2345678901234567, "bytes": None, "top_logprobs": []} for n in range(64)]
    message = {"role": "assistant", "content": REPLY}
    choice = {"index": 0, "finish_reason": "stop", "message": message, "logprobs": {"content": tokens}}
    usage = {"prompt_tokens": 200, "completion_tokens": 64, "total_tokens": 264}
    reply = {"id": "c", "object": "chat.completion", "created": 1, "model": "t", "choices": [choice], "usage": usage}
    data = json.dumps(reply).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    Served.answer = head.encode() + data
    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def ours(client: str, concurrency: int, episodes: int, url: str, record: str) -> tuple[float, float]:
    """Seconds and processor seconds of so many episodes through the whole runner."""
    from agentrl.config import APIConfig, RolloutConfig
    from agentrl.policies.api import APIPolicy
    from agentrl.runner import Job, Runner
    from agentrl.types import Observation, Outcome, StepResult, Task

    class Env:
        """A world of no time."""

        instructions = SEEN

        async def reset(self, task: Task) -> Observation:
            self.count = 0
            return Observation(SEEN)

        async def step(self, action: str) -> StepResult:
            self.count += 1
            return StepResult(Observation(SEEN), terminated=self.count == TURNS)

        def outcome(self) -> Outcome:
            return Outcome(True, 1.0)

        async def close(self) -> None:
            pass

    async def run() -> tuple[float, float]:
        policy = APIPolicy("t", url, APIConfig(client=client), concurrency=concurrency)  # type: ignore[arg-type]
        policy.record_in(record or None)
        rollout = RolloutConfig(concurrency=concurrency, max_new_tokens=64, tries=1)
        async with Runner(Env, policy, rollout=rollout) as runner:
            await runner.run([_job(n, Job, Task) for n in range(WARM_UP)])
            wall, cpu = time.perf_counter(), time.process_time()
            played = await runner.run([_job(n, Job, Task) for n in range(episodes)])
            spent = time.perf_counter() - wall, time.process_time() - cpu
        await policy.close()
        if not all(t.ended == "done" and len(t.turns) == TURNS for t in played):
            raise SystemExit(f"an episode went wrong: {next(t.failure for t in played if t.failure)}")
        return spent

    return asyncio.run(run())


def _job(number: int, job: Any, task: Any) -> Any:
    return job(task("Env", f"t{number}", "test", number), f"t{number}")


def verifiers(concurrency: int, episodes: int, url: str) -> tuple[float, float]:
    """The same with verifiers' MultiTurnEnv (0.2.1 is the newest that has it at its root)."""
    import os

    import verifiers as vf
    from datasets import Dataset
    from verifiers.types import ClientConfig

    os.environ["OPENAI_API_KEY"] = "none"

    class Env(vf.MultiTurnEnv):
        async def env_response(self, messages: Any, state: Any, **_: Any) -> list[Any]:
            return [vf.UserMessage(content=SEEN)]

    async def one(completion: Any, **_: Any) -> float:
        return 1.0

    rows = [{"question": SEEN, "answer": "", "example_id": n} for n in range(max(episodes, WARM_UP))]
    data = Dataset.from_list(rows)
    env = Env(dataset=data, eval_dataset=data, rubric=vf.Rubric(funcs=[one]), max_turns=TURNS, system_prompt=SEEN)
    connections = {"max_connections": 4096, "max_keepalive_connections": 4096}
    client = ClientConfig(api_base_url=url, api_key_var="OPENAI_API_KEY", timeout=600, **connections)
    asked = {"client": client, "model": "t", "rollouts_per_example": 1}
    asked["sampling_args"] = {"max_tokens": 64, "temperature": 1.0}

    async def run() -> tuple[float, float]:
        await env.evaluate(num_examples=WARM_UP, **asked)
        wall, cpu = time.perf_counter(), time.process_time()
        await env.evaluate(num_examples=episodes, max_concurrent=concurrency, **asked)
        return time.perf_counter() - wall, time.process_time() - cpu

    return asyncio.run(run())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", nargs="*", default=["plain", "openai"], choices=["plain", "openai", "verifiers"])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 64, 512])
    parser.add_argument("--episodes", type=int, default=300, help="at least as many as are played at once")
    parser.add_argument("--record", default="", metavar="FOLDER", help="record the calls there, as --out does")
    parser.add_argument("--verifiers", default="", metavar="PYTHON", help="an interpreter that has verifiers 0.2.1")
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
        return
    server = None
    if not args.url:
        print(
            "| client | episodes at once | episodes a second | ms of processor time a turn |\n|---|---|---|---|",
            flush=True,
        )
        server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        args.url = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
    try:
        for concurrency in args.concurrency:
            episodes = max(args.episodes // (4 if concurrency == 1 else 1), concurrency)
            for client in args.clients:
                how = concurrency, episodes, args.url
                wall, cpu = verifiers(*how) if client == "verifiers" else ours(client, *how, args.record)
                each = 1e3 * cpu / episodes / TURNS
                print(f"| {client} | {concurrency} | {episodes / wall:.1f} | {each:.3f} |", flush=True)
            if args.verifiers:
                other = [args.verifiers, Path(__file__), "--clients", "verifiers", "--url", args.url]
                other += ["--concurrency", str(concurrency), "--episodes", str(args.episodes)]
                done = subprocess.run(other, stderr=subprocess.PIPE, text=True)  # its progress bars go there
                if done.returncode:
                    raise SystemExit(done.stderr[-2000:])
    finally:
        if server is not None:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
