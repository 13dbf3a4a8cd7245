"""An independent reference of every imported family, on top of torch autograd.

It shares no code with the compiler or the runtime: it reads the canonical
configuration that `moe-translate --print-config` writes (docs/import.md) and
computes the loss of a batch, and by autograd all gradients, in float64.

Names and shapes of parameters are the plan's, before sharding; T tokens, H
hidden, V vocabulary, F intermediate, E experts:

  embedding.table [V,H]                   final_norm [H]       lm_head [V,H]
  layers.N.input_norm [H]                 layers.N.post_norm [H]
  layers.N.attention.*                    see _gqa_shapes and _mla_shapes
  layers.N.mlp.gate_up [2F,H], .down [H,F]          rows of the gate first
  layers.N.moe.router [E,H], .router_bias [E], .correction [E]
  layers.N.moe.experts.gate_up [E,2F,H], .gate_up_bias [E,2F],
                      .down [E,H,F], .down_bias [E,H]
  layers.N.moe.shared.gate_up, .down

and of multi-token prediction module D, which shares embedding.table and lm_head:

  mtp.D.embedding_norm [H]    mtp.D.hidden_norm [H]    mtp.D.final_norm [H]
  mtp.D.embedding_proj [H,H]  mtp.D.hidden_proj [H,H]
  mtp.D.*                                 those of a layer, as above

With `storage="bf16"` the result of every operation that the runtime keeps in
bf16 is rounded to it on the way forward (gradients pass through): otherwise
tokens whose routing is nearly a tie would choose other experts here than
there, and the comparison would measure that instead of the arithmetic.
"""

import math

import torch


def _gqa_shapes(attention, hidden):
    q = attention["heads"] * attention["head_dim"]
    kv = attention["kv_heads"] * attention["head_dim"]
    shapes = {
        "q_proj": (q, hidden),
        "k_proj": (kv, hidden),
        "v_proj": (kv, hidden),
        "o_proj": (hidden, q),
    }
    if attention["qkv_bias"]:
        shapes.update(q_bias=(q,), k_bias=(kv,), v_bias=(kv,))
    if attention["out_bias"]:
        shapes.update(o_bias=(hidden,))
    if attention["qk_norm"] == "head":
        shapes.update(q_norm=(attention["head_dim"],), k_norm=(attention["head_dim"],))
    if attention["qk_norm"] == "full":
        shapes.update(q_norm=(q,), k_norm=(kv,))
    if attention["sinks"]:
        shapes.update(sinks=(attention["heads"],))
    return shapes


def _mla_shapes(attention, hidden):
    heads = attention["heads"]
    nope, rope, v = (attention[k] for k in ("nope_dim", "rope_dim", "v_dim"))
    q_rank, kv_rank = attention["q_lora_rank"], attention["kv_lora_rank"]
    shapes = {}
    if q_rank:
        shapes["q_down"] = (q_rank, hidden)
        shapes["q_down_norm"] = (q_rank,)
        shapes["q_up"] = (heads * (nope + rope), q_rank)
    else:
        shapes["q_proj"] = (heads * (nope + rope), hidden)
    shapes["kv_down"] = (kv_rank, hidden)
    shapes["k_rope"] = (rope, hidden)
    shapes["kv_down_norm"] = (kv_rank,)
    shapes["k_up"] = (heads * nope, kv_rank)
    shapes["v_up"] = (heads * v, kv_rank)
    shapes["o_proj"] = (hidden, heads * v)
    return shapes


def _ffn_shapes(ffn, hidden):
    if ffn["kind"] == "dense":
        f = ffn["intermediate"]
        return {"mlp.gate_up": (2 * f, hidden), "mlp.down": (hidden, f)}
    count, f, shared = (ffn[k] for k in ("count", "intermediate", "shared_intermediate"))
    shapes = {"moe.router": (count, hidden)}
    if ffn["router_bias"]:
        shapes["moe.router_bias"] = (count,)
    if ffn["correction_bias"]:
        shapes["moe.correction"] = (count,)
    shapes["moe.experts.gate_up"] = (count, 2 * f, hidden)
    shapes["moe.experts.down"] = (count, hidden, f)
    if ffn["expert_bias"]:
        shapes["moe.experts.gate_up_bias"] = (count, 2 * f)
        shapes["moe.experts.down_bias"] = (count, hidden)
    if shared:
        shapes["moe.shared.gate_up"] = (2 * shared, hidden)
        shapes["moe.shared.down"] = (hidden, shared)
    return shapes


def parameter_shapes(config):
    """All parameters of the model: name -> shape."""
    hidden, vocabulary = config["hidden"], config["vocabulary"]
    shapes = {"embedding.table": (vocabulary, hidden)}
    layers = [(f"layers.{i}.", layer) for i, layer in enumerate(config["layers"])]
    for i, layer in enumerate(config["mtp_layers"]):
        prefix = f"mtp.{i}."
        layers.append((prefix, layer))
        for name in ("embedding_norm", "hidden_norm", "final_norm"):
            shapes[prefix + name] = (hidden,)
        for name in ("embedding_proj", "hidden_proj"):
            shapes[prefix + name] = (hidden, hidden)
    for prefix, layer in layers:
        attention = layer["attention"]
        shapes[prefix + "input_norm"] = (hidden,)
        kind = _gqa_shapes if attention["kind"] == "gqa" else _mla_shapes
        for name, shape in kind(attention, hidden).items():
            shapes[prefix + "attention." + name] = shape
        shapes[prefix + "post_norm"] = (hidden,)
        for name, shape in _ffn_shapes(layer["ffn"], hidden).items():
            shapes[prefix + name] = shape
    shapes["final_norm"] = (hidden,)
    shapes["lm_head"] = (vocabulary, hidden)
    return shapes


def is_trainable(name):
    """Correction biases are adjusted by load, not by gradients."""
    return not name.endswith(".correction")


def rotary_frequencies(rotary):
    """Angle per position of each pair of columns [dim/2]; YaRN is section 3.2
    of arXiv 2309.00071."""
    dim, theta = rotary["dim"], rotary["theta"]
    plain = [theta ** (-2 * i / dim) for i in range(dim // 2)]
    factor = rotary["yarn_factor"]
    if factor <= 1:
        return torch.tensor(plain, dtype=torch.float64)

    def pair_that_turns(turns):
        """Index of the pair that makes so many turns in the original length."""
        length = rotary["yarn_original_length"]
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = pair_that_turns(rotary["yarn_beta_fast"])
    high = pair_that_turns(rotary["yarn_beta_slow"])
    if rotary["yarn_truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    frequencies = []
    for i, frequency in enumerate(plain):
        slowed = min(max((i - low) / (high - low), 0), 1)
        frequencies.append(frequency / factor * slowed + frequency * (1 - slowed))
    return torch.tensor(frequencies, dtype=torch.float64)


def rotate(x, rotary, begin):
    """x [sequences, length, heads, columns] -> the same with the columns
    [begin, begin + dim) of each head turned by the position."""
    dim = rotary["dim"]
    angles = torch.outer(
        torch.arange(x.shape[1], dtype=torch.float64), rotary_frequencies(rotary)
    )
    cos = angles.cos()[None, :, None, :] * rotary["attention_scale"]
    sin = angles.sin()[None, :, None, :] * rotary["attention_scale"]
    part = x[..., begin : begin + dim]
    if rotary["interleaved"]:
        a, b = part[..., 0::2], part[..., 1::2]
    else:
        a, b = part[..., : dim // 2], part[..., dim // 2 :]
    first, second = a * cos - b * sin, b * cos + a * sin
    if rotary["interleaved"]:
        turned = torch.stack((first, second), dim=-1).flatten(-2)
    else:
        turned = torch.cat((first, second), dim=-1)
    return torch.cat((x[..., :begin], turned, x[..., begin + dim :]), dim=-1)


def attend(q, k, v, scale, window, sinks):
    """q [S,L,heads,D], k [S,L,kv_heads,D], v [S,L,kv_heads,Dv] -> [S,L,heads,Dv].
    Causal; window w > 0 keeps the w latest positions; sinks [heads] is a logit
    that takes probability and has no value."""
    sequences, length, heads, _ = q.shape
    groups = heads // k.shape[2]
    k = k.repeat_interleave(groups, dim=2)
    v = v.repeat_interleave(groups, dim=2)
    logits = torch.einsum("bihd,bjhd->bhij", q, k) * scale
    i = torch.arange(length)[:, None]
    j = torch.arange(length)[None, :]
    hidden = j > i
    if window:
        hidden = hidden | (j <= i - window)
    logits = logits.masked_fill(hidden, -math.inf)
    if sinks is not None:
        sink = sinks[None, :, None, None].expand(sequences, heads, length, 1)
        logits = torch.cat((logits, sink), dim=-1)
    weights = logits.softmax(dim=-1)[..., :length]
    return torch.einsum("bhij,bjhd->bihd", weights, v)


def route(logits, routing, correction):
    """logits [T,E] -> probabilities [T,k], experts [T,k]. Ties go to the lower
    index."""
    if routing["scoring"] == "softmax":
        scores = logits.softmax(dim=-1)
    else:
        scores = logits.sigmoid()
    choice = scores.detach()
    if correction is not None:
        choice = choice + correction
    tokens, experts = choice.shape
    groups = routing["groups"]
    if groups > 1:
        grouped = choice.view(tokens, groups, experts // groups)
        best = 1 if routing["group_score"] == "maximum" else 2
        group_scores = grouped.sort(dim=-1, descending=True).values[..., :best].sum(-1)
        chosen = group_scores.sort(dim=-1, descending=True, stable=True).indices
        closed = torch.ones(tokens, groups, dtype=torch.bool)
        closed.scatter_(1, chosen[:, : routing["top_groups"]], False)
        choice = grouped.masked_fill(closed[..., None], -math.inf).view(tokens, experts)
    order = choice.sort(dim=-1, descending=True, stable=True).indices
    chosen = order[:, : routing["top_k"]]
    probabilities = scores.gather(1, chosen)
    if routing["normalize"]:
        epsilon = 1e-20 if routing["scoring"] == "sigmoid" else 0.0
        probabilities = probabilities / (probabilities.sum(-1, keepdim=True) + epsilon)
    return probabilities * routing["scale"], chosen


def swiglu(x, limit=0.0, alpha=1.0, up_offset=0.0):
    """x [R,2F], gate first -> [R,F]."""
    gate, up = x.chunk(2, dim=-1)
    if limit > 0:
        gate = gate.clamp(max=limit)
        up = up.clamp(min=-limit, max=limit)
    return gate * torch.sigmoid(alpha * gate) * (up + up_offset)


class Reference:
    """The model of one configuration. `parameters`: name -> float64 tensor."""

    def __init__(self, config, parameters, storage="f32"):
        if storage not in ("f32", "bf16"):
            raise ValueError(f"storage is {storage!r}; expected f32 or bf16")
        expected = parameter_shapes(config)
        if set(expected) != set(parameters):
            missing = sorted(set(expected) - set(parameters))
            extra = sorted(set(parameters) - set(expected))
            raise ValueError(f"parameters missing: {missing}; not expected: {extra}")
        for name, shape in expected.items():
            if tuple(parameters[name].shape) != shape:
                raise ValueError(
                    f"{name}: shape is {tuple(parameters[name].shape)}; expected {shape}"
                )
        self.config = config
        self.parameters = parameters
        self.storage = storage

    def store(self, x):
        """x as the runtime keeps it; gradients pass unchanged."""
        if self.storage == "f32":
            return x
        return x + (x.detach().bfloat16().double() - x.detach())

    def get(self, name):
        return self.parameters.get(name)

    def linear(self, x, name, bias=None):
        out = x @ self.parameters[name].T
        if bias is not None and bias in self.parameters:
            out = out + self.parameters[bias]
        return self.store(out)

    def norm(self, x, name):
        epsilon = self.config["norm_epsilon"]
        scaled = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)
        return self.store(scaled * self.parameters[name])

    def gqa(self, x, attention, prefix):
        head_dim = attention["head_dim"]

        def project(letter, heads):
            y = self.linear(x, f"{prefix}{letter}_proj", f"{prefix}{letter}_bias")
            if letter != "v" and attention["qk_norm"] == "full":
                y = self.norm(y, f"{prefix}{letter}_norm")
            y = y.unflatten(-1, (heads, head_dim))
            if letter == "v":
                return y
            if attention["qk_norm"] == "head":
                y = self.norm(y, f"{prefix}{letter}_norm")
            return self.store(rotate(y, attention["rotary"], attention["rotary"]["begin"]))

        q = project("q", attention["heads"])
        k = project("k", attention["kv_heads"])
        v = project("v", attention["kv_heads"])
        out = attend(
            q, k, v, attention["softmax_scale"], attention["window"], self.get(prefix + "sinks")
        )
        out = self.store(out).flatten(-2)
        return self.linear(out, prefix + "o_proj", prefix + "o_bias")

    def mla(self, x, attention, prefix):
        heads = attention["heads"]
        nope, rope, v_dim = (attention[k] for k in ("nope_dim", "rope_dim", "v_dim"))
        rotary = attention["rotary"]
        if attention["q_lora_rank"]:
            latent = self.norm(self.linear(x, prefix + "q_down"), prefix + "q_down_norm")
            q = self.linear(latent, prefix + "q_up")
        else:
            q = self.linear(x, prefix + "q_proj")
        q = self.store(rotate(q.unflatten(-1, (heads, nope + rope)), rotary, nope))
        latent = self.norm(self.linear(x, prefix + "kv_down"), prefix + "kv_down_norm")
        k_nope = self.linear(latent, prefix + "k_up").unflatten(-1, (heads, nope))
        k_rope = self.linear(x, prefix + "k_rope")[:, :, None, :]
        k_rope = self.store(rotate(k_rope, rotary, 0))
        k = torch.cat((k_nope, k_rope.expand(-1, -1, heads, -1)), dim=-1)
        v = self.linear(latent, prefix + "v_up").unflatten(-1, (heads, v_dim))
        out = attend(q, k, v, attention["softmax_scale"], 0, None)
        return self.linear(self.store(out).flatten(-2), prefix + "o_proj")

    def gated(self, x, prefix):
        hidden = self.store(swiglu(self.linear(x, prefix + "gate_up")))
        return self.linear(hidden, prefix + "down")

    def experts(self, x, ffn, prefix):
        """x [T,H] -> [T,H]."""
        p = self.parameters
        logits = x @ p[prefix + "router"].T
        if ffn["router_bias"]:
            logits = logits + p[prefix + "router_bias"]
        probabilities, chosen = route(logits, ffn["routing"], self.get(prefix + "correction"))
        out = torch.zeros_like(x)
        for e in range(ffn["count"]):
            token, slot = (chosen == e).nonzero(as_tuple=True)
            if not len(token):
                continue
            weight = probabilities[token, slot][:, None]
            row = x[token] @ p[prefix + "experts.gate_up"][e].T
            if ffn["expert_bias"]:
                row = row + p[prefix + "experts.gate_up_bias"][e]
            row = self.store(swiglu(self.store(row), **ffn["activation"]) * weight)
            row = row @ p[prefix + "experts.down"][e].T
            if ffn["expert_bias"]:
                row = row + weight * p[prefix + "experts.down_bias"][e]
            out = out.index_add(0, token, self.store(row))
        out = self.store(out)
        if ffn["shared_intermediate"]:
            out = self.store(out + self.gated(x, prefix + "shared."))
        return out

    def layer(self, x, layer, prefix):
        attention, ffn = layer["attention"], layer["ffn"]
        normed = self.norm(x, prefix + "input_norm")
        apply = self.gqa if attention["kind"] == "gqa" else self.mla
        x = self.store(x + apply(normed, attention, prefix + "attention."))
        normed = self.norm(x, prefix + "post_norm")
        if ffn["kind"] == "dense":
            y = self.gated(normed, prefix + "mlp.")
        else:
            y = self.experts(normed.flatten(0, 1), ffn, prefix + "moe.").view_as(x)
        return self.store(x + y)

    def hidden(self, tokens):
        """What the last decoder layer makes of tokens [sequences, length]."""
        x = self.parameters["embedding.table"][tokens]
        for i, layer in enumerate(self.config["layers"]):
            x = self.layer(x, layer, f"layers.{i}.")
        return x

    def logits(self, tokens):
        """tokens [sequences, length] int64 -> [sequences, length, V]."""
        return self.linear(self.norm(self.hidden(tokens), "final_norm"), "lm_head")

    def mtp(self, x, following, depth):
        """Module `depth`, section 2.2 of arXiv 2412.19437. `x` is what the module
        before it, or the model, makes of the tokens, and `following` the tokens
        depth + 1 positions later. Returns its x and the logits of the tokens one
        position behind those."""
        prefix = f"mtp.{depth}."
        embedded = self.parameters["embedding.table"][following]
        both = torch.cat(
            (self.norm(embedded, prefix + "embedding_norm"), self.norm(x, prefix + "hidden_norm")),
            dim=-1,
        )
        projection = torch.cat(
            (
                self.parameters[prefix + "embedding_proj"],
                self.parameters[prefix + "hidden_proj"],
            ),
            dim=-1,
        )
        x = self.store(both @ projection.T)
        x = self.layer(x, self.config["mtp_layers"][depth], prefix)
        return x, self.linear(self.norm(x, prefix + "final_norm"), "lm_head")

    def loss(self, tokens, labels, further=(), weight=0.3):
        """Mean cross-entropy over all positions of all sequences; with
        multi-token prediction modules, plus `weight` times the mean of theirs.
        further[d]: the tokens d + 2 positions later."""

        def entropy(logits, labels):
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

        x = self.hidden(tokens)
        loss = entropy(self.linear(self.norm(x, "final_norm"), "lm_head"), labels)
        modules = len(self.config["mtp_layers"])
        if len(further) != modules:
            raise ValueError(f"there are {modules} modules and labels for {len(further)}")
        following = labels
        for depth, predicted in enumerate(further):
            x, logits = self.mtp(x, following, depth)
            loss = loss + weight / modules * entropy(logits, predicted)
            following = predicted
        return loss
