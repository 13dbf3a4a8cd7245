#!/usr/bin/env python3
"""What the planner chooses against switches for all layers.

For each budget, the shortest step of a plan that fits with one set of targets
recomputed in every layer (the way frameworks offer it), and that of what
moe-plan chooses by itself. Prints a table; every figure is the plan's own
simulation.

  test/bench/switches.py --tools build/check/bin --model deepseek-v3 \\
      --layout pp=16,ep=64 --microbatches 64 --budgets 56,62,68,76
"""
import argparse
import re
import subprocess

SWITCHES = [
    "norm", "moe_act", "norm,moe_act", "mla_up_proj", "norm,mla_up_proj",
    "norm,mla_up_proj,moe_act", "shared_experts", "attn_proj", "core_attn",
    "mlp", "norm,mla_up_proj,moe_act,shared_experts,mlp", "expert_fc1",
    "routed_experts", "moe", "norm,moe", "norm,mla_up_proj,moe,mlp", "full",
]
CHOICES = [
    ("recompute", ["--recompute", "auto"]),
    ("and offload", ["--recompute", "auto", "--offload", "auto"]),
    ("and partition",
     ["--recompute", "auto", "--offload", "auto", "--partition", "auto"]),
]


def step_seconds(options, budget, extra):
    """The step time of the plan; None: it does not fit, or there is none."""
    run = subprocess.run(
        [f"{options.tools}/moe-plan",
         "--model", f"examples/models/{options.model}.json",
         "--layout", options.layout, "--microbatches", options.microbatches,
         "--budget", f"{budget}GiB"] + extra,
        capture_output=True, text=True, check=False)
    time = re.search(r"Step time: ([\d.]+) (s|ms) ", run.stdout)
    if run.returncode != 0 or not time:
        return None
    return float(time[1]) * (1 if time[2] == "s" else 1e-3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--layout", required=True)
    parser.add_argument("--microbatches", required=True)
    parser.add_argument("--budgets", required=True)
    options = parser.parse_args()
    names = [name for name, _ in CHOICES]
    print("| budget, GiB | best switch | step, s |", " | ".join(names), "|")
    print("|---" * (3 + len(names)) + "|")
    for budget in options.budgets.split(","):
        found = [(step_seconds(options, budget, []), "none")]
        for switch in SWITCHES:
            found.append(
                (step_seconds(options, budget, ["--recompute", switch]),
                 f"`{switch}`"))
        fitting = [entry for entry in found if entry[0] is not None]
        best = min(fitting) if fitting else (None, "nothing fits")
        chosen = [step_seconds(options, budget, extra) for _, extra in CHOICES]
        cells = [best[0]] + chosen
        print(f"| {budget} | {best[1]} |",
              " | ".join("-" if cell is None else f"{cell:.3f}"
                         for cell in cells), "|", flush=True)


main()
