#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds what `decant profile --json` writes against its schema, and the schema against reports that are wrong.

usage: profile_schema_test.py SCHEMA              of a report made here
       profile_schema_test.py SCHEMA DECANT MODEL of a report that the program DECANT makes of MODEL

Exits 0, 1 with a line for each thing that is wrong, or 77 where the Python package jsonschema is missing.
"""

import copy
import json
import math
import os
import subprocess
import sys
import tempfile

try:
    import jsonschema
except ImportError:
    print("the Python package jsonschema is missing")
    sys.exit(77)

THREADS = [1, 2]
DEPTHS = [0, 64]
N_TOKENS = 8
REPEAT = 2
PROMPT_TOKENS = 16


def close(a, b, share):
    return abs(a - b) <= share * max(abs(a), abs(b))


def ascends(values):
    return all(a <= b for a, b in zip(values, values[1:]))


def wrong_in_run(run, options):
    """What a schema can't say of one run: the relations between its figures."""
    token, wrong = run["token"], []

    def check(right, what):
        if not right:
            wrong.append(f"{run['threads']} threads, depth {run['depth']}: {what}")

    parts = sum(part["ns"] for part in run["ops"] + run["other"])
    check(close(parts, 1e6 * token["ms_typical"], 0.02),
          f"ops and other add up to {parts / 1e6} ms of {token['ms_typical']}")
    check(sum(op["bytes"] for op in run["ops"]) == token["bytes"], "the bytes of ops don't add up to the token's")
    names = [part["name"] for part in run["ops"] + run["other"]]
    check(len(set(names)) == len(names), "an operation is there twice")
    for part in run["ops"] + run["other"]:
        check(close(part["share"], part["ns"] / 1e6 / token["ms_typical"], 0.02), f"share of {part['name']}")
    for op in run["ops"]:
        check((op["gb_per_s"] is None) == (op["bytes"] == 0) == (op["bandwidth_share"] is None),
              f"{op['name']} reads {op['bytes']} bytes at {op['gb_per_s']}")
        if op["gb_per_s"] is not None:
            check(close(op["gb_per_s"], op["bytes"] / op["ns"], 0.01), f"GB/s of {op['name']}")
            check(close(op["bandwidth_share"], op["gb_per_s"] / run["bandwidth_gb_per_s"], 0.01),
                  f"bandwidth_share of {op['name']}")

    quantiles = [token[name] for name in ("ms_p50", "ms_p90", "ms_p99", "ms_p999", "ms_max")]
    check(ascends(quantiles), f"the percentiles {quantiles} don't ascend")
    check(close(token["tokens_per_s"], 1e3 / token["ms_p50"], 0.01), "tokens_per_s is not 1000 / ms_p50")
    check(close(token["gb_per_s"], token["bytes"] / token["ms_p50"] / 1e6, 0.01), "gb_per_s is not bytes / ms_p50")
    check(close(token["bandwidth_share"], token["gb_per_s"] / run["bandwidth_gb_per_s"], 0.01),
          "bandwidth_share is not gb_per_s / bandwidth_gb_per_s")

    itl = run["itl_ms"]
    check(len(itl) == options["n_tokens"] * options["repeat"], f"{len(itl)} inter-token latencies")
    check(close(max(itl), token["ms_max"], 0.001), "ms_max is not the slowest of itl_ms")
    check(min(itl) <= token["ms_typical"] <= max(itl), "ms_typical is outside itl_ms")
    check(len(run["bandwidth_rounds_gb_per_s"]) == options["repeat"], "one bandwidth a round")
    prompt = options["prompt_tokens"] > 0
    check(len(run["ttft_ms"]) == (options["repeat"] if prompt else 0), "one ttft_ms a round")
    check((run["ttft"] is not None) == prompt, "ttft is null without a prompt only")
    check((run["prefill"] is not None) == prompt, "prefill is null without a prompt only")

    histogram = run["histogram"]
    check(ascends(histogram["bounds_s"]), "the histogram's bounds don't ascend")
    check(len(histogram["counts"]) == len(histogram["bounds_s"]) + 1, "the histogram lacks the count above all bounds")
    check(sum(histogram["counts"]) == len(itl), "the histogram's counts don't add up to the tokens")
    check(close(histogram["sum_s"], math.fsum(itl) / 1e3, 0.001), "the histogram's sum is not that of itl_ms")

    times = [worker["busy_ns"] + worker["wait_ns"] for worker in run["workers"]]
    check([worker["thread"] for worker in run["workers"]] == list(range(run["threads"])), "one worker a thread")
    check(not times or close(min(times), max(times), 0.02), f"busy and wait of the workers are {times}")

    layers = run["layers"]
    check(all(len(row) == len(layers["ops"]) for row in layers["ns"]), "a row of layers is not as long as its ops")
    check(ascends([-slow["ms"] for slow in run["slowest"]]), "slowest is not in order")
    for slow in run["slowest"]:
        at = slow["round"] * options["n_tokens"] + slow["token"]
        check(at < len(itl) and close(itl[at], slow["ms"], 0.001), f"token {slow['token']} took another time")
    for lane in (run["timeline"] or {"lanes": []})["lanes"]:
        end = 0.0
        for span in lane["spans"]:
            check(span["start_us"] >= end - 0.001, f"{span['name']} begins within the span before")
            end = span["start_us"] + span["us"]
        check(end <= 1.05 * 1e3 * run["timeline"]["ms"], "a lane is longer than its token")
    return wrong


def wrong_in_report(report, validator):
    wrong = []
    for error in validator.iter_errors(report):
        wrong.append("/".join(str(part) for part in error.absolute_path) + ": " + error.message[:200])
    if wrong:
        return wrong
    pairs = [(run["threads"], run["depth"]) for run in report["runs"]]
    if len(set(pairs)) != len(pairs):
        wrong.append(f"runs are there twice: {pairs}")
    for run in report["runs"]:
        wrong += wrong_in_run(run, report["options"])
    return wrong


def sample_run(threads, depth):
    """A run as the program would write it, every field filled in."""
    names = ["embed", "rotation", "attn_norm", "qkv", "kv_append", "attention", "attn_output", "ffn_norm", "ffn_up",
             "ffn_down", "output_norm", "head"]
    read = {"embed": 288, "attn_norm": 4096, "qkv": 800000, "attention": 2048 * depth, "attn_output": 400000,
            "ffn_norm": 4096, "ffn_up": 1600000, "ffn_down": 800000, "output_norm": 1024, "head": 500000}
    bandwidth = 20.0
    itl = [0.5 + 0.001 * (i * 7 % (N_TOKENS * REPEAT)) for i in range(N_TOKENS * REPEAT)]
    ordered = sorted(itl)
    quarter = len(itl) // 4
    typical = sum(ordered[quarter:-quarter]) / (len(itl) - 2 * quarter)
    total = sum(read.values())
    p50 = ordered[len(itl) // 2]
    rest_ns = 0.1 * typical * 1e6

    def op(name):
        ns = 1000.0 + (typical * 1e6 - rest_ns - 1000.0 * len(names)) * read.get(name, 0) / total
        n_bytes = read.get(name, 0)
        rate = n_bytes / ns if n_bytes else None
        return {"name": name, "ns": ns, "share": ns / 1e6 / typical, "bytes": n_bytes, "gb_per_s": rate,
                "bandwidth_share": rate / bandwidth if n_bytes else None}

    ops = [op(name) for name in names]
    other = [{"name": name, "ns": rest_ns / 2, "share": rest_ns / 2e6 / typical} for name in ("barriers", "sample")]
    workers = [{"thread": i, "busy_ns": 4e5 - 1e4 * i, "wait_ns": 1e4 * (i + 1), "pieces": 100.5, "pace": 1.0}
               for i in range(threads)]
    spans = [{"name": "qkv", "layer": 0, "start_us": 1.0, "us": 120.0, "wait": False},
             {"name": "barriers", "layer": -1, "start_us": 121.0, "us": 3.5, "wait": True}]
    slowest = max(range(len(itl)), key=itl.__getitem__)
    return {
        "threads": threads,
        "depth": depth,
        "token": {"ms_p50": p50, "ms_p90": ordered[int(0.9 * len(itl))], "ms_p99": ordered[-1], "ms_p999": ordered[-1],
                  "ms_max": ordered[-1], "ms_typical": typical, "bytes": total, "gb_per_s": total / p50 / 1e6,
                  "bandwidth_share": total / p50 / 1e6 / bandwidth, "tokens_per_s": 1e3 / p50},
        "prefill": {"n_tokens": PROMPT_TOKENS, "seconds": 0.004, "tokens_per_s": PROMPT_TOKENS / 0.004,
                    "ops": ops, "other": other, "workers": workers},
        "ttft": {"ms_p50": 4.5, "tokenize_ms": 0.1, "prefill_ms": 4.0, "sample_ms": 0.4},
        "bandwidth_gb_per_s": bandwidth,
        "ops": ops,
        "other": other,
        "workers": workers,
        "layers": {"ops": names[2:10], "ns": [[1.5] * 8, [2.5] * 8]},
        "events": {"page_faults": 0.1, "major_page_faults": 0, "context_switches": 1.5,
                   "involuntary_context_switches": 0.25},
        "counters": {"cycles": 1e6, "instructions": 2e6, "cache_misses": 1e3, "tlb_misses": None},
        "counters_note": "no TLB misses: perf_event_open: No such file or directory",
        "slowest": [{"round": slowest // N_TOKENS, "token": slowest % N_TOKENS, "ms": itl[slowest],
                     "excess_ms": itl[slowest] - p50, "reason": "most of it in ffn_down of layer 1"}],
        "timeline": {"ms": 0.5, "lanes": [{"thread": i, "spans": spans} for i in range(threads)]},
        "histogram": {"bounds_s": [0.00051, 0.01], "sum_s": sum(itl) / 1e3,
                      "counts": [sum(ms <= 0.51 for ms in itl), sum(ms > 0.51 for ms in itl), 0]},
        "itl_ms": itl,
        "ttft_ms": [4.5] * REPEAT,
        "bandwidth_rounds_gb_per_s": [bandwidth] * REPEAT,
        "verdict": {"bound": "memory", "text": ["A token reads memory at 41 % of its bandwidth."]},
    }


def sample_report():
    return {
        "version": 1,
        "decant": "0.1.0",
        "machine": {"cpu": "A CPU", "n_cpus": 2, "n_threads": 2, "n_numa_nodes": 1, "isas": ["reference", "avx2"],
                    "isa": "avx2", "huge_pages": "madvise", "memory_bytes": 2**34, "available_bytes": 2**33,
                    "caches": [{"level": 1, "type": "Data", "size_bytes": 32768, "shared_by": "0"}]},
        "model": {"path": "m.gguf", "name": "m", "architecture": "llama", "n_params": 10**6, "n_layers": 2,
                  "d_model": 256, "d_ff": 512, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "vocab_size": 512,
                  "tied_head": True, "file_bytes": 10**6, "packed_bytes": 10**6, "token_bytes": 10**6},
        "options": {"k_type": "f16", "v_type": "f16", "isa": "avx2", "numerics": "exact", "pin_threads": False,
                    "prompt_tokens": PROMPT_TOKENS, "n_tokens": N_TOKENS, "repeat": REPEAT},
        "load": {"seconds": 0.2, "metadata_seconds": 0.01, "tokenizer_seconds": 0.1, "weights_seconds": 0.15,
                 "weight_bytes": 10**6, "threads": 2, "mapped": False, "first_token_seconds": 0.3, "cached_share": 1.0,
                 "disk_bytes": 0},
        "memory": [{"owner": "weights", "bytes": 10**6}, {"owner": "everything else", "bytes": 10**6}],
        "runs": [sample_run(threads, depth) for threads in THREADS for depth in DEPTHS],
        "verdict": ["Loading took 0.2 s."],
    }


def objects_in(value, path=()):
    """The path of every object in a report; of an array's elements the first stands for all."""
    if isinstance(value, dict):
        yield path
        for key in value:
            yield from objects_in(value[key], path + (key,))
    elif isinstance(value, list) and value:
        yield from objects_in(value[0], path + (0,))


def at(value, path):
    for part in path:
        value = value[part]
    return value


def mutations(report):
    """Reports that are wrong in one field, and what was done to it: every field of every kind of object."""

    def remove(holder, key):
        del holder[key]

    def mistype(holder, key):
        holder[key] = {"odd": 1}  # no field is an object of this kind

    for path in objects_in(report):
        name = "/".join(str(part) for part in path)
        for key in list(at(report, path)):
            for what, change in (("missing", remove), ("of a wrong type", mistype)):
                mutant = copy.deepcopy(report)
                change(at(mutant, path), key)
                yield f"{name}/{key} {what}", mutant
        mutant = copy.deepcopy(report)
        at(mutant, path)["unknown"] = 1
        yield f"{name}/unknown, which is no field", mutant
    for path, value in ((("version",), 2), (("runs",), []), (("runs", 0, "itl_ms", 0), "7"),
                        (("runs", 0, "threads"), 1.5), (("runs", 0, "token", "ms_p50"), -1.0),
                        (("runs", 0, "verdict", "bound"), "weather"), (("load", "cached_share"), 1.5),
                        (("runs", 0, "layers", "ns", 0, 0), None)):
        mutant = copy.deepcopy(report)
        at(mutant, path[:-1])[path[-1]] = value
        yield "/".join(str(part) for part in path) + f" = {value}", mutant


def broken_relations(report):
    """Reports that the schema takes and that still can't be."""
    for path, value in ((("ops", 1, "ns"), 1e6), (("ops", 3, "bytes"), 1), (("itl_ms",), [0.5]),
                        (("token", "ms_p90"), 0.1), (("histogram", "counts", 0), 99), (("workers", 0, "busy_ns"), 1.0)):
        mutant = copy.deepcopy(report)
        run = mutant["runs"][-1]
        at(run, path[:-1])[path[-1]] = value
        yield "/".join(str(part) for part in path) + f" = {value}", mutant


def self_test(validator):
    report = sample_report()
    wrong = wrong_in_report(report, validator)
    for what, mutant in mutations(report):
        if validator.is_valid(mutant):
            wrong.append(f"the schema takes a report with {what}")
    for what, mutant in broken_relations(report):
        if not validator.is_valid(mutant):
            wrong.append(f"the schema refuses {what}, which only the relations should")
        if not wrong_in_report(mutant, validator):
            wrong.append(f"the relations take a report with {what}")
    nulls = copy.deepcopy(report)
    for run in nulls["runs"]:
        run.update(counters=None, counters_note=None, timeline=None)
    nulls["load"]["cached_share"] = None
    return wrong + wrong_in_report(nulls, validator)


def program_test(validator, program, model):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        words = [program, "profile", "-m", model, "--threads", ",".join(map(str, THREADS)), "--depths",
                 ",".join(map(str, DEPTHS)), "-n", str(N_TOKENS), "--repeat", str(REPEAT), "--prompt-tokens",
                 str(PROMPT_TOKENS), "--json", path]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return [f"{' '.join(words)}: exits {done.returncode}: {done.stderr.strip()}"]
        with open(path, encoding="utf-8") as file:
            report = json.load(file, parse_constant=lambda name: f"the number {name}")
    wrong = wrong_in_report(report, validator)
    pairs = [(run["threads"], run["depth"]) for run in report["runs"]]
    if pairs != [(threads, depth) for threads in THREADS for depth in DEPTHS]:
        wrong.append(f"the runs are {pairs}")
    return wrong


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    wrong = program_test(validator, *sys.argv[2:4]) if len(sys.argv) > 2 else self_test(validator)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
