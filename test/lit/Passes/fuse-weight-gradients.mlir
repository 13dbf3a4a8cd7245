// RUN: moe-opt %s --pass-pipeline='builtin.module(pipe.stage(pipe-fuse-weight-gradients))' --verify-roundtrip | FileCheck %s

moe.parameter @norm : tensor<4xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @a : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @b : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @c : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>

// Ops whose operands all come from outside stand at the front; the others right
// behind the last of their operands, in the order that they had.

// CHECK-LABEL: pipe.stage @place
// CHECK: } backward {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x4xbf16>, %[[X:.*]]: tensor<8x4xbf16>, %[[INVERSE:.*]]: tensor<8x1xf32>):
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[X]], @c
// CHECK-NEXT: moe.rms_norm_weight_grad %[[D]], %[[X]], %[[INVERSE]], @norm
// CHECK-NEXT: %[[D1:.*]] = moe.linear_input_grad %[[D]], @c
// CHECK-NEXT: moe.linear_weight_grad %[[D1]], %[[X]], @a
// CHECK-NEXT: moe.linear_weight_grad %[[D1]], %[[D]], @b
// CHECK-NEXT: %[[D2:.*]] = moe.linear_input_grad %[[D1]], @b
// CHECK-NEXT: moe.linear_weight_grad %[[D1]], %[[D2]], @c
// CHECK-NEXT: %[[D3:.*]] = moe.linear_input_grad %[[D2]], @a
// CHECK-NEXT: pipe.yield %[[D3]] : tensor<8x4xbf16>{{$}}
// CHECK-NEXT: }
// CHECK-NOT: weight_grad
pipe.stage @place rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %y, %inverse = moe.rms_norm %x, @norm epsilon 1.0e-06 : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<8x1xf32>)
  pipe.yield %y : tensor<8x4xbf16> kept %x, %inverse : tensor<8x4xbf16>, tensor<8x1xf32>
} backward {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>):
  %d1 = moe.linear_input_grad %d, @c : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  %d2 = moe.linear_input_grad %d1, @b : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  %d3 = moe.linear_input_grad %d2, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  pipe.yield %d3 : tensor<8x4xbf16> kept %d, %x, %inverse, %d1, %d2
      : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>, tensor<8x4xbf16>, tensor<8x4xbf16>
} weight_grad {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>, %d1: tensor<8x4xbf16>, %d2: tensor<8x4xbf16>):
  // Behind %d1 ...
  moe.linear_weight_grad %d1, %x, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  // ... at the front ...
  moe.linear_weight_grad %d, %x, @c : tensor<8x4xbf16>, tensor<8x4xbf16>
  // ... behind %d2, although %d1 comes first ...
  moe.linear_weight_grad %d1, %d2, @c : tensor<8x4xbf16>, tensor<8x4xbf16>
  // ... behind %d1, but also behind the first ...
  moe.linear_weight_grad %d1, %d, @b : tensor<8x4xbf16>, tensor<8x4xbf16>
  // ... and at the front again.
  moe.rms_norm_weight_grad %d, %x, %inverse, @norm : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
  pipe.yield
}

// An op of the region itself may be the last operand.

// CHECK-LABEL: pipe.stage @chain
// CHECK: } backward {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x4xbf16>, %[[X:.*]]: tensor<8x4xbf16>):
// CHECK-NEXT: %[[SUM:.*]] = moe.add %[[D]], %[[D]]
// CHECK-NEXT: moe.linear_weight_grad %[[SUM]], %[[X]], @a
// CHECK-NEXT: %[[D1:.*]] = moe.linear_input_grad %[[D]], @a
// CHECK-NEXT: pipe.yield %[[D1]] : tensor<8x4xbf16>{{$}}
pipe.stage @chain rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %y = moe.linear %x, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  pipe.yield %y : tensor<8x4xbf16> kept %x : tensor<8x4xbf16>
} backward {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  %d1 = moe.linear_input_grad %d, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  pipe.yield %d1 : tensor<8x4xbf16> kept %d, %x : tensor<8x4xbf16>, tensor<8x4xbf16>
} weight_grad {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  %sum = moe.add %d, %d : tensor<8x4xbf16>
  moe.linear_weight_grad %sum, %x, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  pipe.yield
}

// Nothing to do without the region.

// CHECK-LABEL: pipe.stage @none
// CHECK: pipe.yield %{{.*}} : tensor<8x4xbf16>
pipe.stage @none rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x : tensor<8x4xbf16>
}
