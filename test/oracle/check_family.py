"""Plans and runs one step of a reduced model of one family, and compares loss
and every gradient with the reference.

  check_family.py --tools BIN --models examples/models --family qwen3_moe
                  --layout pp=2,ep=2,dp=1 --dtype f32|bf16

Exits 0 when all agree, 1 when not, 77 (skipped) without torch.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from families import FAMILIES

SKIPPED = 77

# f32: both sides compute the same formulas; sums of some thousand f32 terms
# and some ten layers of them cost a few 1e-6 (measured: at most 6e-6).
# bf16: every value on the way back is rounded to 8 bits (2^-9 relative, some
# tens of times), and what is a difference of large terms, like the gradient of
# a key bias, suffers more (measured: at most 4e-2, most below 1e-2). The
# forward pass is rounded alike on both sides.
TOLERANCES = {  # dtype: (gradient, loss)
    "f32": (3e-5, 1e-6),
    "bf16": (5e-2, 3e-4),
}

# Biases and sinks start at zero and count only after some steps: the exact
# comparison, f32, is of a later one. In bf16 it stays with the first, because
# training soon makes gradients that nearly cancel (those of the norms of queries
# and keys), of which rounding leaves too little to compare.
STEPS = {"f32": 4, "bf16": 1}
INITIALIZER_RANGE = 0.15
MICROBATCHES = 4
LENGTH = 64

TEXT = (
    "A pipeline rank holds the layers of its stages and passes activations on. "
    "Experts live on the ranks of a group; a router sends every token to a few "
    "of them and brings the results back. What is saved in the forward pass "
    "waits for the backward pass, unless it is cheaper to compute it again. "
)


def run(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        sys.stderr.write(f"{' '.join(command)}\nexit status {result.returncode}\n")
        sys.stderr.write(result.stdout + result.stderr)
        sys.exit(1)
    return result.stdout


def logged_loss(path):
    """The loss of the last step in moe-run's JSONL log."""
    with open(path) as file:
        return float(json.loads(file.readlines()[-1])["loss"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--family", required=True, choices=sorted(FAMILIES))
    parser.add_argument("--layout", required=True)
    parser.add_argument("--dtype", required=True, choices=sorted(TOLERANCES))
    parser.add_argument("--keep", help="folder for the files instead of a temporary one")
    options = parser.parse_args()
    name, reductions = FAMILIES[options.family]
    steps = STEPS[options.dtype]

    try:
        import torch
    except ImportError:
        print("skipped: this Python has no torch (Debian: python3-torch)")
        return SKIPPED
    import compare

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or temporary
        os.makedirs(folder, exist_ok=True)

        def path(name):
            return os.path.join(folder, name)

        def tool(name):
            return os.path.join(options.tools, name)

        # The published 0.02 suits widths of thousands; at width 64 everything
        # but the residual would be next to nothing.
        with open(os.path.join(options.models, name + ".json")) as file:
            published = json.load(file)
        published["initializer_range"] = INITIALIZER_RANGE
        model = path(name + ".json")
        with open(model, "w") as file:
            json.dump(published, file)
        with open(path("text"), "w") as file:
            file.write(TEXT * (1 + 64 * MICROBATCHES * LENGTH // len(TEXT)))
        config = json.loads(
            run(
                [tool("moe-translate"), "--import-hf-config", model]
                + ["--reduce", reductions, "--print-config"]
            )
        )
        run(
            [tool("moe-plan"), "--model", model, "--reduce", reductions]
            + ["--machine", "h100-sxm", "--layout", options.layout]
            + ["--microbatches", str(MICROBATCHES), "--seq", str(LENGTH)]
            + ["--schedule", "1f1b", "--dtype", options.dtype]
            + ["--capacity-factor", "max", "-o", path("plan.json")]
            + ["--mtp", "on" if config["mtp_layers"] else "off"]
        )
        run(
            [tool("moe-run"), path("plan.json"), "--data", path("text")]
            + ["--steps", str(steps), "--dump-step", str(steps), "--lr", "0.01"]
            + ["--json", path("log.jsonl")]
            + ["--dump-parameters", path("parameters")]
            + ["--dump-gradients", path("gradients")]
        )
        gradient_tolerance, loss_tolerance = TOLERANCES[options.dtype]
        lines, ok = compare.compare(
            config,
            compare.load_folder(path("parameters")),
            compare.load_folder(path("gradients")),
            logged_loss(path("log.jsonl")),
            options.dtype,
            gradient_tolerance,
            loss_tolerance,
        )
    print("\n".join(lines))
    print(
        f"{'agrees' if ok else 'DIFFERS'}: {config['architecture']}, {options.layout}, "
        f"{options.dtype}; tolerances: gradients {gradient_tolerance}, loss {loss_tolerance}"
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
