// DEFINE: %{targets} =
// DEFINE: %{fail} = not moe-opt %s --pipe-insert-recompute=%{targets} -o /dev/null

// REDEFINE: %{targets} = targets=norm@
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=SCOPE
// SCOPE: error: recompute: 'norm@': the scope behind '@' is empty; a scope is

// REDEFINE: %{targets} = targets=norms
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=NAME
// NAME: error: recompute: 'norms': 'norms' is neither a target nor a value that is kept for the backward pass; targets: norm, attn_proj,

// REDEFINE: %{targets} = targets=layers.0.a
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=UNKEPT
// UNKEPT: error: recompute: 'layers.0.a': 'layers.0.a' is neither

// REDEFINE: %{targets} = targets=mlp
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=NONE
// NONE: error: recompute: 'mlp': no stage keeps anything of the target, which covers the dense feed-forward network

// REDEFINE: %{targets} = targets=norm@layers.1
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=THERE
// THERE: error: recompute: 'norm@layers.1': nothing of it is kept there

// REDEFINE: %{targets} = targets=norm@layers.0-2
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=LAYERS
// LAYERS: error: recompute: 'norm@layers.0-2': the model has 2 layers, counted from 0

// REDEFINE: %{targets} = targets=norm@stage1
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=STAGES
// STAGES: error: recompute: 'norm@stage1': the model has 1 stages, counted from 0

// REDEFINE: %{targets} = targets=norm@rank3
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=RANKS
// RANKS: error: recompute: 'norm@rank3': the model has 1 ranks, counted from 0

// REDEFINE: %{targets} = targets=norm@mtp.0
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=MTP
// MTP: error: recompute: 'norm@mtp.0': the model has 0 multi-token prediction modules, counted from 0

// REDEFINE: %{targets} = targets=input
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=INPUT
// INPUT: error: recompute: 'input' enters the stage; nothing there makes it

// REDEFINE: %{targets} = targets=moe.route:experts
// RUN: %{fail} 2>&1 | FileCheck %s --check-prefix=ROUTE
// ROUTE: error: recompute: 'layers.1.moe.route:experts' cannot be recomputed: a second run of 'moe.route' may decide differently

// RUN: not moe-opt %s --pass-pipeline='builtin.module(pipe.stage(pipe-place-releases),pipe-insert-recompute{targets=norm})' -o /dev/null 2>&1 | FileCheck %s --check-prefix=RELEASES
// RELEASES: error: 'pipe.stage' op holds releases already; recompute comes before pipe-place-releases

moe.parameter @n : tensor<4xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @a : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
pipe.stage @s0 rank 0 blocks ["layers.0", "layers.1"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %n, %i = moe.rms_norm %x, @n epsilon 1.0e-06 : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<8x1xf32>) loc("layers.0.input_norm")
  %y = moe.linear %n, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16> loc("layers.0.a")
  %logits = moe.linear %n, @a : (tensor<8x4xbf16>) -> tensor<8x4xf32> loc("layers.1.moe.router")
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>) loc("layers.1.moe.route")
  pipe.yield %y : tensor<8x4xbf16> kept %x, %n, %i, %p, %e : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>, tensor<8x2xf32>, tensor<8x2xi32>
} backward {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %n: tensor<8x4xbf16>, %i: tensor<8x1xf32>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
  moe.linear_weight_grad %d, %n, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  %dx = moe.rms_norm_input_grad %d, %x, %i, @n : (tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>) -> tensor<8x4xbf16>
  %dl = moe.route_input_grad %p, %p, %e routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
  pipe.yield %dx : tensor<8x4xbf16>
}
