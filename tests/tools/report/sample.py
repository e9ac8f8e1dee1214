# SPDX-License-Identifier: Apache-2.0
"""Reports as `decant profile --json` writes them, from a seed: their figures agree with each other."""

import math
import random
import statistics

OPS = ["embed", "rotation", "attn_norm", "qkv", "kv_append", "attention", "attn_output",
       "ffn_norm", "ffn_up", "ffn_down", "output_norm", "head"]
ONCE = {"embed", "rotation", "output_norm", "head"}
WEIGHT = {"embed": .002, "rotation": .003, "attn_norm": .008, "qkv": .14, "kv_append": .012, "attention": .06,
          "attn_output": .09, "ffn_norm": .008, "ffn_up": .33, "ffn_down": .17, "output_norm": .001, "head": .15}
OTHER = {"barriers": .014, "schedule": .001, "sample": .007, "commit": .0005, "detokenize": .001, "callback": .002}
BYTES = {"embed": 2048, "qkv": 6_500_000, "attn_output": 4_300_000, "ffn_up": 17_200_000, "ffn_down": 8_600_000,
         "head": 9_000_000}
VLLM = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]


def quantile(values, q):
    values = sorted(values)
    at = q * (len(values) - 1)
    low = math.floor(at)
    return values[low] + (values[min(low + 1, len(values) - 1)] - values[low]) * (at - low)


def operations(rng, ms, depth, bandwidth):
    weights = {name: w * (1 + rng.uniform(-.05, .05)) for name, w in {**WEIGHT, **OTHER}.items()}
    weights["attention"] *= 1 + depth / 900
    scale = ms * 1e6 / sum(weights.values())
    ops = []
    for name in OPS:
        ns = weights[name] * scale
        read = BYTES.get(name, 0) + (40 * depth * 16 if name == "attention" else 0)
        rate = read / ns if read else None
        ops.append({"name": name, "ns": ns, "share": ns / (ms * 1e6), "bytes": read, "gb_per_s": rate,
                    "bandwidth_share": rate / bandwidth if read else None})
    other = [{"name": name, "ns": weights[name] * scale, "share": weights[name] * scale / (ms * 1e6)} for name in OTHER]
    return ops, other


def layer_rows(rng, ops, n_layers):
    names = [name for name in OPS if name not in ONCE]
    ns = {op["name"]: op["ns"] for op in ops}
    rows = []
    for layer in range(n_layers):
        pace = 1.25 if layer == 3 else 1
        rows.append([ns[name] / n_layers * pace * (1 + rng.uniform(-.06, .06)) for name in names])
    return {"ops": names, "ns": rows}


def timeline(rng, ms, threads, layers):
    steps = [("embed", -1, 8), ("rotation", -1, 10)]
    for layer, row in enumerate(layers["ns"]):
        steps += [(name, layer, ns / 1000) for name, ns in zip(layers["ops"], row)]
    steps += [("output_norm", -1, 6), ("head", -1, ms * 150)]
    scale = ms * 1000 / sum(us for _, _, us in steps)
    lanes = [{"thread": thread, "spans": []} for thread in range(threads)]
    at = 0.0
    for name, layer, us in steps:
        us *= scale
        works = [us * (1 if thread == 0 else rng.uniform(.8, 1)) for thread in range(threads)]
        alone = name in ("embed", "rotation", "attn_norm", "ffn_norm", "output_norm")
        for thread, lane in enumerate(lanes):
            busy = 0 if alone and thread else works[thread]
            if busy:
                lane["spans"].append({"name": name, "layer": layer, "start_us": at, "us": busy, "wait": False})
            if us - busy > .05:
                lane["spans"].append({"name": name, "layer": layer, "start_us": at + busy, "us": us - busy, "wait": True})
        at += us
    return {"ms": ms, "lanes": lanes}


def run(rng, threads, depth, n_tokens, repeat, n_layers, pace):
    bandwidth = (19.5 if threads == 1 else 31.2) * rng.uniform(.99, 1.01)
    read = sum(BYTES.values()) + 40 * depth * 16
    floor = read / bandwidth / 1e6
    base = floor * 1.22 * pace + depth * 2.5e-5 / threads
    itl = []
    for i in range(n_tokens * repeat):
        ms = base * (1 + abs(rng.gauss(0, .012)) + .01 * math.sin(i / 19))
        if rng.random() < .01:
            ms *= rng.uniform(1.1, 1.35)
        itl.append(ms)
    itl[n_tokens // 3] = base * 2.6 + 2
    order = sorted(range(len(itl)), key=lambda i: -itl[i])
    middle = sorted(itl)[len(itl) // 4: len(itl) - len(itl) // 4]
    typical = statistics.fmean(middle)
    p50 = quantile(itl, .5)
    reasons = ["2.0 ms of it in ffn_down of layer 3, on thread 0", "the process was switched out 2 times",
               "14 page faults", "all operations took longer alike: other programs read memory",
               "1.1 ms of it waiting for thread 1"]
    ops, other = operations(rng, typical, depth, bandwidth)
    layers = layer_rows(rng, ops, n_layers)
    wait = next(part["ns"] for part in other if part["name"] == "barriers")
    n_prompt = 512
    prefill_ms = n_prompt * base / 11
    prefill_ops, prefill_other = operations(rng, prefill_ms, depth, bandwidth)
    counts = [0] * (len(VLLM) + 1)
    for ms in itl:
        counts[sum(ms / 1000 > bound for bound in VLLM)] += 1
    ttft = [prefill_ms * rng.uniform(.99, 1.03) + 1.3 for _ in range(repeat)]
    rate = read / p50 / 1e6
    return {
        "threads": threads, "depth": depth,
        "token": {"ms_p50": p50, "ms_p90": quantile(itl, .9), "ms_p99": quantile(itl, .99),
                  "ms_p999": quantile(itl, .999), "ms_max": max(itl), "ms_typical": typical, "bytes": read,
                  "gb_per_s": rate, "bandwidth_share": rate / bandwidth, "tokens_per_s": 1000 * len(itl) / sum(itl)},
        "prefill": {"n_tokens": n_prompt, "seconds": prefill_ms / 1000, "tokens_per_s": n_prompt / prefill_ms * 1000,
                    "ops": prefill_ops, "other": prefill_other, "workers": []},
        "ttft": {"ms_p50": quantile(ttft, .5), "tokenize_ms": .8, "prefill_ms": prefill_ms, "sample_ms": .45},
        "bandwidth_gb_per_s": bandwidth, "ops": ops, "other": other,
        "workers": [{"thread": t, "busy_ns": typical * 1e6 - wait * (1 + t), "wait_ns": wait * (1 + t),
                     "pieces": 412.5 / threads, "pace": 1 - .04 * t} for t in range(threads)],
        "layers": layers,
        "events": {"page_faults": .21, "major_page_faults": 0, "context_switches": .52,
                   "involuntary_context_switches": .31},
        "counters": None, "counters_note": "perf_event_open: Permission denied (kernel.perf_event_paranoid is 4)",
        "slowest": [{"round": i // n_tokens, "token": i % n_tokens, "ms": itl[i], "excess_ms": itl[i] - p50,
                     "reason": reason} for i, reason in zip(order, reasons)],
        "timeline": timeline(rng, typical, threads, layers),
        "histogram": {"bounds_s": VLLM, "counts": counts, "sum_s": sum(itl) / 1000},
        "itl_ms": itl, "ttft_ms": ttft, "bandwidth_rounds_gb_per_s": [bandwidth] * repeat,
        "verdict": {"bound": "memory", "text": [
            f"Memory bounds this run: a token reads {read / 1e6:.1f} MB at {100 * rate / bandwidth:.0f} % of the "
            "bandwidth measured beside it.", "Fewer bytes a token would change it: q4_0 instead of q8_0 reads half."]},
    }


def report(seed=1, threads=(1, 2), depths=(0, 1024, 4096), n_tokens=64, repeat=3, n_layers=16, pace=1.0):
    rng = random.Random(seed)
    return {
        "version": 1, "decant": "0.1.0",
        "machine": {"cpu": "AMD EPYC 9R14", "n_cpus": 2, "n_threads": 2, "n_numa_nodes": 1, "isas": ["scalar", "avx512"],
                    "isa": "avx512", "caches": [
                        {"level": 1, "type": "Data", "size_bytes": 32768, "shared_by": "0"},
                        {"level": 1, "type": "Instruction", "size_bytes": 32768, "shared_by": "0"},
                        {"level": 2, "type": "Unified", "size_bytes": 1048576, "shared_by": "0"},
                        {"level": 3, "type": "Unified", "size_bytes": 33554432, "shared_by": "0-1"}],
                    "huge_pages": "madvise", "memory_bytes": 25769803776, "available_bytes": 22000000000},
        "model": {"path": "models/fable-22m-q8_0.gguf", "name": "fable 22M", "architecture": "llama",
                  "n_params": 22400000, "n_layers": n_layers, "d_model": 384, "d_ff": 1024, "n_heads": 6,
                  "n_kv_heads": 2, "head_dim": 64, "vocab_size": 16000, "tied_head": True, "file_bytes": 24100000,
                  "packed_bytes": 23000000, "token_bytes": sum(BYTES.values())},
        "options": {"k_type": "f16", "v_type": "f16", "isa": "avx512", "numerics": "exact", "pin_threads": False,
                    "prompt_tokens": 512, "n_tokens": n_tokens, "repeat": repeat},
        "load": {"seconds": .212, "metadata_seconds": .011, "tokenizer_seconds": .064, "weights_seconds": .198,
                 "weight_bytes": 24100000, "threads": 2, "mapped": True, "first_token_seconds": .243,
                 "cached_share": 1.0, "disk_bytes": 0},
        "memory": [{"owner": "weights", "bytes": 24100000}, {"owner": "activations", "bytes": 1200000},
                   {"owner": "logits", "bytes": 64000}, {"owner": "attention scratch", "bytes": 410000},
                   {"owner": "sampler", "bytes": 512000}, {"owner": "kv cache used", "bytes": 9400000},
                   {"owner": "kv cache free", "bytes": 3100000}, {"owner": "bandwidth measurement", "bytes": 8400000},
                   {"owner": "everything else", "bytes": 5300000}],
        "runs": [run(rng, t, d, n_tokens, repeat, n_layers, pace) for t in threads for d in depths],
        "verdict": ["The model's file lay in the page cache, so that loading took 0.21 s.",
                    "Latency grows by 0.4 ms for each 1,000 tokens of context."],
    }


def compare(a, b):
    runs = []
    for left in a["runs"]:
        right = next((r for r in b["runs"] if (r["threads"], r["depth"]) == (left["threads"], left["depth"])), None)
        if right is None:
            continue
        def figure(name, unit, x, y, spread, higher_is_better):
            ratio = y / x
            low, high = ratio - spread, ratio + spread
            differs = not low <= 1 <= high
            better = None if not differs or higher_is_better is None else "b" if (ratio > 1) == higher_is_better else "a"
            return {"name": name, "unit": unit, "a": x, "b": y, "ratio": ratio, "low": low, "high": high,
                    "differs": differs, "better": better}
        tokens = left["token"], right["token"]
        runs.append({
            "threads": left["threads"], "depth": left["depth"],
            "figures": [
                figure("ms_p50", "ms", tokens[0]["ms_p50"], tokens[1]["ms_p50"], .011, False),
                figure("ms_p99", "ms", tokens[0]["ms_p99"], tokens[1]["ms_p99"], .35, False),
                figure("ttft_ms", "ms", left["ttft"]["ms_p50"], right["ttft"]["ms_p50"], .02, False),
                figure("tokens_per_s", "tokens/s", tokens[0]["tokens_per_s"], tokens[1]["tokens_per_s"], .012, True),
                figure("bandwidth_gb_per_s", "GB/s", left["bandwidth_gb_per_s"], right["bandwidth_gb_per_s"], .03, None)],
            "ops": [{"name": x["name"], "a_ns": x["ns"], "b_ns": y["ns"]} for x, y in zip(left["ops"], right["ops"])]})
    keys = [{(r["threads"], r["depth"]) for r in side["runs"]} for side in (a, b)]
    only = [[{"threads": t, "depth": d} for t, d in sorted(mine - other)] for mine, other in (keys, keys[::-1])]
    return {"a": {"path": "A.json"}, "b": {"path": "B.json"}, "notes": ["the kernels differ: avx512 and avx2"],
            "runs": runs, "only_a": only[0], "only_b": only[1]}


def minimal():
    """Everything that may be missing is."""
    return {"version": 1, "decant": "0.1.0", "machine": {}, "model": {}, "options": {}, "load": {}, "memory": [],
            "runs": [{"threads": 1, "depth": 0, "token": {"ms_p50": 5.0}, "prefill": None, "ttft": None,
                      "bandwidth_gb_per_s": None, "ops": [], "other": [], "workers": [],
                      "layers": {"ops": [], "ns": []}, "events": {}, "counters": None, "counters_note": None,
                      "slowest": [], "timeline": None, "histogram": {"bounds_s": [], "counts": [], "sum_s": 0},
                      "itl_ms": [], "ttft_ms": [], "bandwidth_rounds_gb_per_s": [],
                      "verdict": {"bound": "memory", "text": []}}],
            "verdict": []}


HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>alert(2)</script>"


def hostile(value):
    """Every string of a report that a file could decide, replaced by one that would break out of a script element."""
    if isinstance(value, dict):
        return {key: hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE if isinstance(value, str) else value
