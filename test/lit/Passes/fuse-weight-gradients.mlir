// RUN: moe-opt %s --pipe-fuse-weight-gradients --allow-unregistered-dialect --verify-roundtrip | FileCheck %s

moe.parameter @norm : tensor<4xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @a : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @b : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @c : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>

// Ops whose operands all come from outside stand at the front; the others right
// behind the last of their operands, in the order that they had; but ops that
// add to the same parameter never change places (@c).

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
} backward_input {
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
} backward_input {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  %d1 = moe.linear_input_grad %d, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  pipe.yield %d1 : tensor<8x4xbf16> kept %d, %x : tensor<8x4xbf16>, tensor<8x4xbf16>
} weight_grad {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  %sum = moe.add %d, %d : tensor<8x4xbf16>
  moe.linear_weight_grad %sum, %x, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  pipe.yield
}

// Nothing to do without a backward.

// CHECK-LABEL: pipe.stage @none
// CHECK: pipe.yield %{{.*}} : tensor<8x4xbf16>
pipe.stage @none rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x : tensor<8x4xbf16>
}

// A weight gradient stands behind the next exchange where that raises the peak
// of live bytes nowhere. The peak is at @wide's. What @o's reads is small;
// what @down's reads would live while the experts' largest gradient does; what
// @up's reads is released behind the exchange that needs no more than the peak.

#rows = #moe.rows<balanced = 16, capacity = 16>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
moe.parameter @wide : tensor<16x96xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @narrow : tensor<96x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @o : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @up : tensor<4x64x16xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @down : tensor<4x16x64xbf16> expert #moe.initializer<normal, 0.02>

// CHECK-LABEL: pipe.stage @defer
// CHECK: } backward {
// CHECK: moe.linear_input_grad %{{.*}}, @wide
// CHECK-NEXT: moe.linear_input_grad %{{.*}}, @narrow
// CHECK-NEXT: %[[D1:.*]] = moe.linear_input_grad %{{.*}}, @o
// CHECK-NEXT: %[[ROWS:.*]] = moe.combine_input_grad %[[D1]]
// CHECK-NEXT: moe.linear_weight_grad %{{.*}}, %{{.*}}, @o
// CHECK-NEXT: moe.grouped_linear_weight_grad %[[ROWS]], %{{.*}}, @down
// CHECK-NEXT: %[[ACT:.*]] = moe.grouped_linear_input_grad %[[ROWS]]
// CHECK-NEXT: %[[IN:.*]] = moe.grouped_linear_input_grad %[[ACT]]
// CHECK-NEXT: moe.dispatch_input_grad %[[IN]]
// CHECK-NEXT: moe.grouped_linear_weight_grad %[[ACT]], %{{.*}}, @up
// CHECK-NEXT: moe.add
// CHECK-NEXT: pipe.yield
pipe.stage @defer rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>):
  %handle, %rows, %act, %counts, %p = "test.kept"() : () -> (!handle, tensor<?x16xbf16, #rows>, tensor<?x64xbf16, #rows>, tensor<4xi32>, tensor<?xf32, #rows>)
  pipe.yield %x : tensor<8x16xbf16> kept %x, %handle, %rows, %act, %counts, %p : tensor<8x16xbf16>, !handle, tensor<?x16xbf16, #rows>, tensor<?x64xbf16, #rows>, tensor<4xi32>, tensor<?xf32, #rows>
} backward_input {
^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %handle: !handle, %rows: tensor<?x16xbf16, #rows>, %act: tensor<?x64xbf16, #rows>, %counts: tensor<4xi32>, %p: tensor<?xf32, #rows>):
  %big = moe.linear_input_grad %d, @wide : (tensor<8x16xbf16>) -> tensor<8x96xbf16>
  %d0 = moe.linear_input_grad %big, @narrow : (tensor<8x96xbf16>) -> tensor<8x16xbf16>
  %d1 = moe.linear_input_grad %d0, @o : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %drows = moe.combine_input_grad %d1, %handle top_k 2 experts 4 ranks 2 capacity 16 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  %dact = moe.grouped_linear_input_grad %drows, %counts, @down : (tensor<?x16xbf16, #rows>, tensor<4xi32>) -> tensor<?x64xbf16, #rows>
  %din = moe.grouped_linear_input_grad %dact, %counts, @up : (tensor<?x64xbf16, #rows>, tensor<4xi32>) -> tensor<?x16xbf16, #rows>
  %d2, %dp = moe.dispatch_input_grad %din, %p, %handle top_k 2 experts 4 ranks 2 capacity 16 : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, !handle) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
  %d3 = moe.add %d2, %d1 : tensor<8x16xbf16>
  pipe.yield %d3 : tensor<8x16xbf16> kept %d0, %x, %drows, %act, %counts, %dact, %rows : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<?x16xbf16, #rows>, tensor<?x64xbf16, #rows>, tensor<4xi32>, tensor<?x64xbf16, #rows>, tensor<?x16xbf16, #rows>
} weight_grad {
^bb0(%d0: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %drows: tensor<?x16xbf16, #rows>, %act: tensor<?x64xbf16, #rows>, %counts: tensor<4xi32>, %dact: tensor<?x64xbf16, #rows>, %rows: tensor<?x16xbf16, #rows>):
  moe.linear_weight_grad %d0, %x, @o : tensor<8x16xbf16>, tensor<8x16xbf16>
  moe.grouped_linear_weight_grad %drows, %act, %counts, @down : tensor<?x16xbf16, #rows>, tensor<?x64xbf16, #rows>, tensor<4xi32>
  moe.grouped_linear_weight_grad %dact, %rows, %counts, @up : tensor<?x64xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<4xi32>
  pipe.yield
}

// What is run in both ways keeps all regions; what is run in halves keeps those.

// CHECK-LABEL: pipe.stage @both
// CHECK: } backward {
// CHECK-NEXT: ^bb0
// CHECK-NEXT: moe.linear_weight_grad
// CHECK-NEXT: moe.linear_input_grad
// CHECK-NEXT: pipe.yield %{{.*}} : tensor<8x4xbf16>{{$}}
// CHECK-NEXT: } backward_input {
// CHECK-NEXT: ^bb0
// CHECK-NEXT: moe.linear_input_grad
// CHECK-NEXT: pipe.yield %{{.*}} kept
// CHECK-NEXT: } weight_grad {
pipe.stage @both rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x : tensor<8x4xbf16> kept %x : tensor<8x4xbf16>
} backward_input {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  %d1 = moe.linear_input_grad %d, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  pipe.yield %d1 : tensor<8x4xbf16> kept %d, %x : tensor<8x4xbf16>, tensor<8x4xbf16>
} weight_grad {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  moe.linear_weight_grad %d, %x, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  pipe.yield
}

// CHECK-LABEL: pipe.stage @halves
// CHECK-NOT: } backward {
// CHECK: } backward_input {
// CHECK: } weight_grad {
// CHECK: pipe.interleaving
pipe.stage @halves rank 0 blocks ["a"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x : tensor<8x4xbf16>
} backward_input {
^bb0(%d: tensor<8x4xbf16>):
  pipe.yield %d : tensor<8x4xbf16>
} weight_grad {
  pipe.yield
}

// An overlap runs its regions as well.
pipe.interleaving @i0 (@halves forward, @both backward)
pipe.rank 0 {
  pipe.run @place microbatch 0 backward
  pipe.run @chain microbatch 0 backward
  pipe.run @defer microbatch 0 backward
  pipe.overlap @i0 microbatches 1, 0
  pipe.run @both microbatch 1 backward_input
  pipe.run @both microbatch 1 weight_grad
  pipe.run @halves microbatch 0 backward_input
  pipe.run @halves microbatch 0 weight_grad
}
