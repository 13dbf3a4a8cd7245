"""Compares a dumped step of moe-run with the reference."""

import os

import numpy
import torch

import reference


def load(path):
    """An .npy file as a float64 or int64 tensor."""
    array = numpy.load(path, allow_pickle=False)
    kind = numpy.int64 if array.dtype.kind in "iu" else numpy.float64
    return torch.from_numpy(array.astype(kind))


def load_folder(folder):
    """name -> tensor of every .npy file in the folder."""
    return {
        name[: -len(".npy")]: load(os.path.join(folder, name))
        for name in sorted(os.listdir(folder))
        if name.endswith(".npy")
    }


def compare(config, parameters, gradients, loss, storage, gradient_tolerance, loss_tolerance):
    """Runs the reference on the dumped batch. `parameters` also holds "tokens",
    "labels" and, for multi-token prediction, "labels_2", ... Returns (report
    lines, ok).

    The error of a gradient is the Frobenius norm of the difference over that of
    the reference gradient. Gradients that are small beside all others together
    (below 1e-4 of the norm of all) are measured against that bound: what
    cancels to nearly nothing has no relative precision.
    """
    parameters = dict(parameters)
    tokens, labels = parameters.pop("tokens"), parameters.pop("labels")
    further = [parameters.pop(f"labels_{d + 2}") for d in range(len(config["mtp_layers"]))]
    for name, tensor in parameters.items():
        if reference.is_trainable(name):
            tensor.requires_grad_(True)
    model = reference.Reference(config, parameters, storage)
    expected_loss = model.loss(tokens, labels, further)
    expected_loss.backward()

    expected = {
        name: tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
        for name, tensor in parameters.items()
        if tensor.requires_grad
    }
    lines, ok = [], True
    if set(expected) != set(gradients):
        lines.append(f"gradients missing: {sorted(set(expected) - set(gradients))}")
        lines.append(f"gradients not expected: {sorted(set(gradients) - set(expected))}")
        return lines, False

    loss_error = abs(loss - expected_loss.item()) / abs(expected_loss.item())
    passed = loss_error <= loss_tolerance
    ok &= passed
    lines.append(
        f"{'ok  ' if passed else 'FAIL'} {loss_error:9.2e} loss "
        f"{loss} (reference {expected_loss.item()})"
    )
    whole = sum(g.pow(2).sum().item() for g in expected.values()) ** 0.5
    for name, gradient in expected.items():
        if gradients[name].shape != gradient.shape:
            lines.append(
                f"FAIL {name}: shape {tuple(gradients[name].shape)}, "
                f"expected {tuple(gradient.shape)}"
            )
            ok = False
            continue
        scale = max(gradient.norm().item(), 1e-4 * whole)
        error = (gradients[name] - gradient).norm().item() / scale
        passed = error <= gradient_tolerance  # false for NaN
        ok &= passed
        lines.append(f"{'ok  ' if passed else 'FAIL'} {error:9.2e} {name}")
    return lines, ok
