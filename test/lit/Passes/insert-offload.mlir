// RUN: moe-opt %s --pipe-insert-offload=targets=input,a,layers.1.b --verify-roundtrip | FileCheck %s --check-prefixes=CHECK,LAYER
// RUN: moe-opt %s --pipe-insert-offload="targets=input,a,layers.1.b lead-layers=0" | FileCheck %s --check-prefixes=CHECK,NONE
// RUN: moe-opt %s --pipe-insert-offload="targets=input,a,layers.1.b lead-ops=1" | FileCheck %s --check-prefixes=CHECK,OPS
// RUN: moe-opt %s --pipe-insert-offload="targets=input@lead2,a@lead0,layers.1.b@lead1" | FileCheck %s --check-prefix=OWN
// RUN: moe-opt %s --pipe-insert-offload | FileCheck %s --check-prefix=NOTHING

// Copies to the host stand behind the last use; those back one layer before the
// one that uses them first, at its begin, or one op before it, and what is used
// first comes first. What the halves of a backward both use is copied back in
// both.

// Each with a lead of its own, which the decision says.
// OWN: reason "input@lead2">
// OWN-SAME: reason "a@lead0">
// OWN-SAME: reason "layers.1.b@lead1">
// OWN: } backward {
// OWN-NEXT: ^bb0(%[[D:.*]]: tensor<4x4xf32>, %[[HX:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HA:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HB:.*]]: !pipe.host<tensor<4x4xf32>>):
// OWN-NEXT: pipe.reload %[[HB]]
// OWN-NEXT: pipe.reload %[[HX]]
// OWN-NEXT: moe.linear_input_grad %[[D]]
// OWN-NEXT: moe.linear_weight_grad
// OWN-NEXT: pipe.reload %[[HA]]
// OWN-NEXT: moe.linear_input_grad

// NOTHING-NOT: pipe.offload
// NOTHING-NOT: pipe.reload

// CHECK-LABEL: pipe.stage @s0
// CHECK-SAME: pipe.decisions = [#pipe.decision<offload "input" bytes 256 ops["input.offload", "input.reload", "input.reload_for_weights"] reason "input">
// CHECK: ^bb0(%[[X:.*]]: tensor<4x4xf32>):
// CHECK-NEXT: %[[A:.*]] = moe.linear %[[X]]
// CHECK-NEXT: %[[HX:.*]] = pipe.offload %[[X]] : tensor<4x4xf32>
// CHECK-NEXT: %[[B:.*]] = moe.linear %[[A]]
// CHECK-NEXT: %[[HA:.*]] = pipe.offload %[[A]] : tensor<4x4xf32>
// CHECK-NEXT: %[[C:.*]] = moe.linear %[[B]]
// CHECK-NEXT: %[[HB:.*]] = pipe.offload %[[B]] : tensor<4x4xf32>
// CHECK-NEXT: pipe.yield %[[C]] : tensor<4x4xf32> kept %[[HX]], %[[HA]], %[[HB]] :
// CHECK-NEXT: } backward {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<4x4xf32>, %[[HX:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HA:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HB:.*]]: !pipe.host<tensor<4x4xf32>>):
// LAYER-NEXT: %[[B:.*]] = pipe.reload %[[HB]]
// LAYER-NEXT: %[[A:.*]] = pipe.reload %[[HA]]
// LAYER-NEXT: moe.linear_input_grad %[[D]]
// LAYER-NEXT: moe.linear_weight_grad %[[D]], %[[B]]
// LAYER-NEXT: %[[X:.*]] = pipe.reload %[[HX]]
// LAYER-NEXT: moe.linear_input_grad
// LAYER-NEXT: moe.linear_weight_grad %{{.*}}, %[[A]]
// LAYER-NEXT: moe.linear_input_grad
// LAYER-NEXT: moe.linear_weight_grad %{{.*}}, %[[X]]
// NONE-NEXT: %[[B:.*]] = pipe.reload %[[HB]]
// NONE-NEXT: moe.linear_input_grad %[[D]]
// NONE-NEXT: moe.linear_weight_grad %[[D]], %[[B]]
// NONE-NEXT: %[[A:.*]] = pipe.reload %[[HA]]
// NONE-NEXT: moe.linear_input_grad
// NONE-NEXT: moe.linear_weight_grad %{{.*}}, %[[A]]
// NONE-NEXT: %[[X:.*]] = pipe.reload %[[HX]]
// NONE-NEXT: moe.linear_input_grad
// NONE-NEXT: moe.linear_weight_grad %{{.*}}, %[[X]]
// OPS-NEXT: %[[B:.*]] = pipe.reload %[[HB]]
// OPS-NEXT: moe.linear_input_grad %[[D]]
// OPS-NEXT: moe.linear_weight_grad %[[D]], %[[B]]
// OPS-NEXT: %[[A:.*]] = pipe.reload %[[HA]]
// OPS-NEXT: moe.linear_input_grad
// OPS-NEXT: moe.linear_weight_grad %{{.*}}, %[[A]]
// OPS-NEXT: %[[X:.*]] = pipe.reload %[[HX]]
// OPS-NEXT: moe.linear_input_grad
// OPS-NEXT: moe.linear_weight_grad %{{.*}}, %[[X]]
// CHECK-NEXT: pipe.yield
// CHECK-NEXT: } backward_input {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<4x4xf32>, %[[HX:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HA:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HB:.*]]: !pipe.host<tensor<4x4xf32>>):
// CHECK-NEXT: %[[B:.*]] = pipe.reload %[[HB]]
// CHECK-NEXT: moe.add %[[D]], %[[B]]
// CHECK-NEXT: pipe.yield %{{.*}} : tensor<4x4xf32> kept %[[D]], %[[HX]], %[[HA]], %[[HB]] :
// CHECK-NEXT: } weight_grad {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<4x4xf32>, %[[HX:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HA:.*]]: !pipe.host<tensor<4x4xf32>>, %[[HB:.*]]: !pipe.host<tensor<4x4xf32>>):
// CHECK: %[[B:.*]] = pipe.reload %[[HB]]
// CHECK: moe.linear_weight_grad %[[D]], %[[B]]
module {
  moe.parameter @w : tensor<4x4xf32> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks ["layers.0", "layers.1", "layers.2"] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<4x4xf32>):
    %a = moe.linear %x, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.a")
    %b = moe.linear %a, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.1.b")
    %c = moe.linear %b, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.2.c")
    pipe.yield %c : tensor<4x4xf32> kept %x, %a, %b : tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>
  } backward {
  ^bb0(%d: tensor<4x4xf32>, %x: tensor<4x4xf32>, %a: tensor<4x4xf32>, %b: tensor<4x4xf32>):
    %db = moe.linear_input_grad %d, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.2.c.input_grad")
    moe.linear_weight_grad %d, %b, @w : tensor<4x4xf32>, tensor<4x4xf32> loc("layers.2.c.weight_grad")
    %da = moe.linear_input_grad %db, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.1.b.input_grad")
    moe.linear_weight_grad %db, %a, @w : tensor<4x4xf32>, tensor<4x4xf32> loc("layers.1.b.weight_grad")
    %dx = moe.linear_input_grad %da, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.a.input_grad")
    moe.linear_weight_grad %da, %x, @w : tensor<4x4xf32>, tensor<4x4xf32> loc("layers.0.a.weight_grad")
    pipe.yield %dx : tensor<4x4xf32>
  } backward_input {
  ^bb0(%d: tensor<4x4xf32>, %x: tensor<4x4xf32>, %a: tensor<4x4xf32>, %b: tensor<4x4xf32>):
    %dx = moe.add %d, %b : tensor<4x4xf32> loc("layers.2.c.input_grad")
    pipe.yield %dx : tensor<4x4xf32> kept %d, %x, %a, %b : tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>
  } weight_grad {
  ^bb0(%d: tensor<4x4xf32>, %x: tensor<4x4xf32>, %a: tensor<4x4xf32>, %b: tensor<4x4xf32>):
    moe.linear_weight_grad %d, %b, @w : tensor<4x4xf32>, tensor<4x4xf32> loc("layers.2.c.weight_grad")
    moe.linear_weight_grad %d, %a, @w : tensor<4x4xf32>, tensor<4x4xf32> loc("layers.1.b.weight_grad")
    moe.linear_weight_grad %d, %x, @w : tensor<4x4xf32>, tensor<4x4xf32> loc("layers.0.a.weight_grad")
    pipe.yield
  }
}
