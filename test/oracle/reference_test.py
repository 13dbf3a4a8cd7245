"""Tests of the reference itself: its parts against brute force or against what
is known of them, and its parameters against the importer's counts.

  reference_test.py --tools BIN --models examples/models

Exits 77 (skipped) without torch.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import unittest

try:
    import torch
except ImportError:
    print("skipped: this Python has no torch (Debian: python3-torch)")
    sys.exit(77)

import compare
import reference
from families import FAMILIES

OPTIONS = None


def print_config(name, reductions=None):
    command = [os.path.join(OPTIONS.tools, "moe-translate"), "--import-hf-config"]
    command += [os.path.join(OPTIONS.models, name + ".json"), "--print-config"]
    if reductions:
        command += ["--reduce", reductions]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def rotary(**changes):
    facts = {
        "begin": 0,
        "dim": 8,
        "interleaved": False,
        "theta": 10000.0,
        "yarn_factor": 1.0,
        "yarn_original_length": 0.0,
        "yarn_beta_fast": 32.0,
        "yarn_beta_slow": 1.0,
        "yarn_truncate": True,
        "attention_scale": 1.0,
    }
    facts.update(changes)
    return facts


def random_parameters(config, seed=0, scale=0.2):
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in reference.parameter_shapes(config).items():
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        parameters[name] = tensor + 1 if name.endswith("norm") else tensor
    return parameters


def random_batch(config, sequences=2, length=24, seed=1):
    """Tokens, labels and the labels of multi-token prediction."""
    generator = torch.Generator().manual_seed(seed)
    tokens, labels, *further = torch.randint(
        config["vocabulary"],
        (2 + len(config["mtp_layers"]), sequences, length),
        generator=generator,
    ).unbind(0)
    return tokens, labels, further


class Parts(unittest.TestCase):
    def test_rotation_depends_on_distance_only(self):
        generator = torch.Generator().manual_seed(0)
        q, k = torch.randn(2, 1, 1, 1, 12, generator=generator, dtype=torch.float64)
        for interleaved in (False, True):
            facts = rotary(interleaved=interleaved)
            qs = reference.rotate(q.expand(1, 20, 1, 12), facts, 2)[0, :, 0]
            ks = reference.rotate(k.expand(1, 20, 1, 12), facts, 2)[0, :, 0]
            products = qs @ ks.T
            for distance in (0, 3, 11):
                diagonal = products.diagonal(distance)
                self.assertLess((diagonal - diagonal[0]).abs().max(), 1e-12)
            self.assertGreater((products[0, 0] - products[0, 5]).abs(), 1e-3)
            # Columns outside of [2, 10) stay.
            self.assertTrue(torch.equal(qs[7, :2], q.flatten()[:2]))
            self.assertTrue(torch.equal(qs[7, 10:], q.flatten()[10:]))

    def test_rotation_pairs(self):
        x = torch.zeros(1, 2, 1, 4, dtype=torch.float64)
        x[..., 0] = 1
        halves = reference.rotate(x, rotary(dim=4), 0)[0, 1, 0]
        pairs = reference.rotate(x, rotary(dim=4, interleaved=True), 0)[0, 1, 0]
        c, s = math.cos(1), math.sin(1)
        self.assertTrue(torch.allclose(halves, torch.tensor([c, 0, s, 0]).double()))
        self.assertTrue(torch.allclose(pairs, torch.tensor([c, s, 0, 0]).double()))

    def test_yarn_keeps_fast_and_slows_slow_pairs(self):
        plain = reference.rotary_frequencies(rotary(dim=64))
        for truncate in (False, True):
            yarn = reference.rotary_frequencies(
                rotary(
                    dim=64, yarn_factor=40.0, yarn_original_length=4096.0, yarn_truncate=truncate
                )
            )
            ratio = yarn / plain
            self.assertAlmostEqual(ratio[0].item(), 1)
            self.assertAlmostEqual(ratio[-1].item(), 1 / 40)
            self.assertTrue(bool((ratio[1:] <= ratio[:-1] + 1e-15).all()))
            # Pairs that turn 32 times and once in 4096 positions bound the ramp.
            turns = 4096 * plain / (2 * math.pi)
            if not truncate:
                self.assertTrue(bool((ratio[turns >= 32] == 1).all()))
                self.assertTrue(torch.allclose(ratio[turns <= 1], ratio[-1]))

    def test_attention_window_and_sinks(self):
        generator = torch.Generator().manual_seed(0)
        q = torch.randn(1, 9, 4, 6, generator=generator, dtype=torch.float64)
        k = torch.randn(1, 9, 2, 6, generator=generator, dtype=torch.float64)
        v = torch.randn(1, 9, 2, 5, generator=generator, dtype=torch.float64)
        sinks = torch.randn(4, generator=generator, dtype=torch.float64)
        for window in (0, 3):
            for sink in (None, sinks):
                out = reference.attend(q, k, v, 0.3, window, sink)
                for i in range(9):
                    for h in range(4):
                        first = max(0, i - window + 1) if window else 0
                        logits = [
                            0.3 * (q[0, i, h] @ k[0, j, h // 2]).item() for j in range(first, i + 1)
                        ]
                        weights = [math.exp(l) for l in logits]
                        whole = sum(weights)
                        if sink is not None:
                            whole += math.exp(sink[h].item())
                        row = sum(
                            w / whole * v[0, first + n, h // 2] for n, w in enumerate(weights)
                        )
                        self.assertLess((row - out[0, i, h]).abs().max(), 1e-12)

    def test_routing_against_brute_force(self):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(50, 8, generator=generator, dtype=torch.float64)
        correction = torch.randn(8, generator=generator, dtype=torch.float64)
        for scoring in ("softmax", "sigmoid"):
            for normalize in (False, True):
                for groups, top_groups, group_score in (
                    (1, 1, "maximum"),
                    (4, 2, "maximum"),
                    (4, 2, "top2_sum"),
                ):
                    routing = dict(
                        top_k=3,
                        scoring=scoring,
                        normalize=normalize,
                        groups=groups,
                        top_groups=top_groups,
                        group_score=group_score,
                        scale=2.5,
                    )
                    probabilities, chosen = reference.route(logits, routing, correction)
                    for t in range(50):
                        self.check_route(logits[t], correction, routing, probabilities[t], chosen[t])

    def check_route(self, logits, correction, routing, probabilities, chosen):
        if routing["scoring"] == "softmax":
            whole = sum(math.exp(l) for l in logits.tolist())
            scores = [math.exp(l) / whole for l in logits.tolist()]
        else:
            scores = [1 / (1 + math.exp(-l)) for l in logits.tolist()]
        choice = [s + c for s, c in zip(scores, correction.tolist())]
        size = 8 // routing["groups"]

        def group_score(g):
            best = sorted(choice[g * size : (g + 1) * size], reverse=True)
            return best[0] if routing["group_score"] == "maximum" else best[0] + best[1]

        open_groups = sorted(range(routing["groups"]), key=group_score, reverse=True)
        open_groups = open_groups[: routing["top_groups"]]
        candidates = [e for e in range(8) if e // size in open_groups]
        expected = sorted(candidates, key=lambda e: choice[e], reverse=True)[:3]
        self.assertEqual(chosen.tolist(), expected)
        whole = sum(scores[e] for e in expected) if routing["normalize"] else 1
        for e, p in zip(expected, probabilities.tolist()):
            self.assertAlmostEqual(p, scores[e] / whole * 2.5, places=12)

    def test_swiglu(self):
        x = torch.tensor([[9.0, -9.0, 1.0, 8.0, -8.0, 2.0]]).double()
        out = reference.swiglu(x, limit=7.0, alpha=1.702, up_offset=1.0)
        for f, (gate, up) in enumerate([(7, 7), (-9, -7), (1, 2)]):
            expected = gate / (1 + math.exp(-1.702 * gate)) * (up + 1)
            self.assertAlmostEqual(out[0, f].item(), expected)


class Models(unittest.TestCase):
    def test_parameters_are_those_that_the_importer_counts(self):
        for family, (name, reductions) in FAMILIES.items():
            for config in (print_config(name), print_config(name, reductions)):
                shapes = reference.parameter_shapes(config)
                self.assertEqual(
                    sum(math.prod(shape) for shape in shapes.values()),
                    config["parameters"]["total"] + config["parameters"]["mtp_total"],
                    family,
                )

    def test_every_parameter_matters(self):
        """Each has a gradient; corrections have none by design, and change the
        loss only through the choice of experts."""
        for family, (name, reductions) in FAMILIES.items():
            config = print_config(name, reductions)
            for storage in ("f32", "bf16"):
                parameters = random_parameters(config)
                for key, tensor in parameters.items():
                    tensor.requires_grad_(reference.is_trainable(key))
                model = reference.Reference(config, parameters, storage)
                loss = model.loss(*random_batch(config))
                self.assertTrue(math.isfinite(loss.item()))
                loss.backward()
                for key, tensor in parameters.items():
                    if reference.is_trainable(key):
                        self.assertGreater(tensor.grad.norm().item(), 0, f"{family} {key}")

    def test_gradients_are_slopes_of_the_loss(self):
        for name, reductions in FAMILIES.values():
            config = print_config(name, reductions)
            parameters = random_parameters(config)
            batch = random_batch(config, length=8)
            for tensor in parameters.values():
                tensor.requires_grad_(True)
            model = reference.Reference(config, parameters)
            model.loss(*batch).backward()
            generator = torch.Generator().manual_seed(2)
            for key, tensor in parameters.items():
                if not reference.is_trainable(key):
                    continue
                direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                step = 1e-6
                with torch.no_grad():
                    tensor += step * direction
                    above = model.loss(*batch).item()
                    tensor -= 2 * step * direction
                    below = model.loss(*batch).item()
                    tensor += step * direction
                slope = (above - below) / (2 * step)
                expected = (tensor.grad * direction).sum().item()
                self.assertAlmostEqual(
                    slope, expected, delta=1e-6 + 1e-5 * abs(expected), msg=key
                )

    def test_causal(self):
        for name, reductions in FAMILIES.values():
            config = print_config(name, reductions)
            model = reference.Reference(config, random_parameters(config))
            tokens, _, _ = random_batch(config)
            before = model.logits(tokens)
            tokens[:, 15] = (tokens[:, 15] + 1) % config["vocabulary"]
            after = model.logits(tokens)
            self.assertLess((before - after)[:, :15].abs().max().item(), 1e-12)
            self.assertGreater((before - after)[:, 15].abs().max().item(), 1e-6)

    def test_comparison_finds_differences(self):
        config = print_config(*FAMILIES["mixtral"])
        parameters = random_parameters(config)
        tokens, labels, _ = random_batch(config)
        exact = {k: v.clone().requires_grad_(True) for k, v in parameters.items()}
        loss = reference.Reference(config, exact).loss(tokens, labels)
        loss.backward()
        gradients = {k: v.grad.clone() for k, v in exact.items()}

        def check(gradients, loss):
            dump = {k: v.clone() for k, v in parameters.items()}
            dump.update(tokens=tokens, labels=labels)
            lines, ok = compare.compare(config, dump, gradients, loss, "f32", 1e-4, 1e-5)
            return ok

        self.assertTrue(check(gradients, loss.item()))
        self.assertFalse(check(gradients, loss.item() * (1 + 2e-5)))
        for key in gradients:
            changed = dict(gradients)
            changed[key] = gradients[key] * 1.5
            self.assertFalse(check(changed, loss.item()), key)
        changed = dict(gradients)
        changed["final_norm"] = gradients["final_norm"] * math.nan
        self.assertFalse(check(changed, loss.item()))
        del changed["final_norm"]
        self.assertFalse(check(changed, loss.item()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tools", required=True)
    parser.add_argument("--models", required=True)
    OPTIONS, rest = parser.parse_known_args()
    torch.set_num_threads(1)
    unittest.main(argv=[sys.argv[0]] + rest)
