// RUN: split-file %s %t

// A replay stands right before the first use, one serves all uses, and what it
// makes besides and nobody keeps serves too. Nothing else moves.

// RUN: moe-opt %t/place.mlir --pipe-insert-recompute=targets=norm --verify-roundtrip | FileCheck %t/place.mlir

//--- place.mlir
moe.parameter @n : tensor<4xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @a : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @b : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>

// CHECK:      pipe.stage @s0
// CHECK-SAME:   pipe.decisions = [#pipe.decision<recompute "layers.0.input_norm" bytes 256 ops["layers.0.input_norm.replay"] reason "norm">, #pipe.decision<recompute "layers.0.input_norm:inverse" bytes 256 ops[] reason "norm">]
// CHECK:        pipe.yield %{{.*}} : tensor<8x4xbf16> kept %{{.*}} : tensor<8x4xbf16>
// CHECK:      } backward {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x4xbf16>, %[[X:.*]]: tensor<8x4xbf16>):
// CHECK-NEXT:   %[[D1:.*]] = moe.linear_input_grad %[[D]], @b
// CHECK-NEXT:   %[[N:.*]], %[[I:.*]] = moe.rms_norm %[[X]], @n
// CHECK-NEXT:   moe.linear_weight_grad %[[D]], %[[N]], @b
// CHECK-NEXT:   moe.linear_weight_grad %[[D1]], %[[N]], @a
// CHECK-NEXT:   moe.rms_norm_weight_grad %[[D1]], %[[X]], %[[I]], @n
// CHECK-NEXT:   moe.rms_norm_input_grad %[[D1]], %[[X]], %[[I]], @n
pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %n, %i = moe.rms_norm %x, @n epsilon 1.0e-06 : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<8x1xf32>) loc("layers.0.input_norm")
  %y = moe.linear %n, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16> loc("layers.0.a")
  pipe.yield %y : tensor<8x4xbf16> kept %x, %n, %i : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
} backward {
^bb0(%d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %n: tensor<8x4xbf16>, %i: tensor<8x1xf32>):
  %d1 = moe.linear_input_grad %d, @b : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  moe.linear_weight_grad %d, %n, @b : tensor<8x4xbf16>, tensor<8x4xbf16>
  moe.linear_weight_grad %d1, %n, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  moe.rms_norm_weight_grad %d1, %x, %i, @n : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
  %dx = moe.rms_norm_input_grad %d1, %x, %i, @n : (tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>) -> tensor<8x4xbf16>
  pipe.yield %dx : tensor<8x4xbf16>
}

// In halves. What only weight gradients read runs again in weight_grad when all
// that it reads is there anyway (@late), but in backward_input when what it
// reads takes more room than what it makes (@early): there right behind the
// last use of the largest operand.

// RUN: moe-opt %t/split.mlir --pipe-insert-recompute=targets=layers.0.late,layers.1.early,layers.0.unused --verify-roundtrip | FileCheck %t/split.mlir

//--- split.mlir
moe.parameter @a : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @wide : tensor<512x4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @narrow : tensor<4x256xbf16> dense #moe.initializer<normal, 0.02>

// CHECK-LABEL: pipe.stage @late
// CHECK:        kept %{{.*}} : tensor<8x4xbf16>
// CHECK-NEXT: } backward_input {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x4xbf16>, %[[X:.*]]: tensor<8x4xbf16>):
// CHECK-NEXT:   %[[D1:.*]] = moe.linear_input_grad
// CHECK-NEXT:   pipe.yield %[[D1]] : tensor<8x4xbf16> kept %[[D]], %[[X]] :
// CHECK-NEXT: } weight_grad {
// CHECK-NEXT: ^bb0(%[[WD:.*]]: tensor<8x4xbf16>, %[[WX:.*]]: tensor<8x4xbf16>):
// CHECK-NEXT:   moe.linear_weight_grad %[[WD]], %[[WX]], @a
// CHECK-NEXT:   %[[Y:.*]] = moe.linear %[[WX]], @a
// CHECK-NEXT:   moe.linear_weight_grad %[[WD]], %[[Y]], @a
// CHECK-NEXT:   pipe.yield
pipe.stage @late rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %u = moe.linear %x, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16> loc("layers.0.unused")
  %y = moe.linear %x, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16> loc("layers.0.late")
  pipe.yield %y : tensor<8x4xbf16> kept %u, %x, %y : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x4xbf16>
} backward_input {
^bb0(%d: tensor<8x4xbf16>, %u: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %y: tensor<8x4xbf16>):
  %d1 = moe.linear_input_grad %d, @a : (tensor<8x4xbf16>) -> tensor<8x4xbf16>
  pipe.yield %d1 : tensor<8x4xbf16> kept %y, %d, %x : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x4xbf16>
} weight_grad {
^bb0(%y: tensor<8x4xbf16>, %d: tensor<8x4xbf16>, %x: tensor<8x4xbf16>):
  moe.linear_weight_grad %d, %x, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  moe.linear_weight_grad %d, %y, @a : tensor<8x4xbf16>, tensor<8x4xbf16>
  pipe.yield
}

// CHECK-LABEL: pipe.stage @early
// CHECK:      } backward_input {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x4xbf16>, %[[F:.*]]: tensor<8x512xbf16>):
// CHECK-NEXT:   %[[DA:.*]] = moe.linear_input_grad %[[D]], @narrow
// CHECK-NEXT:   %[[DF:.*]] = moe.swiglu_input_grad %[[DA]], %[[F]]
// CHECK-NEXT:   %[[ACT:.*]] = moe.swiglu %[[F]]
// CHECK-NEXT:   %[[D1:.*]] = moe.linear_input_grad %[[DF]], @wide
// CHECK-NEXT:   pipe.yield %[[D1]] : tensor<8x4xbf16> kept %[[D]], %[[ACT]] :
// CHECK-NEXT: } weight_grad {
// CHECK-NEXT: ^bb0(%[[WD:.*]]: tensor<8x4xbf16>, %[[WACT:.*]]: tensor<8x256xbf16>):
// CHECK-NEXT:   moe.linear_weight_grad %[[WD]], %[[WACT]], @narrow
pipe.stage @early rank 0 blocks ["layers.1"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %f = moe.linear %x, @wide : (tensor<8x4xbf16>) -> tensor<8x512xbf16> loc("layers.1.f")
  %act = moe.swiglu %f activation <> : (tensor<8x512xbf16>) -> tensor<8x256xbf16> loc("layers.1.early")
  %y = moe.linear %act, @narrow : (tensor<8x256xbf16>) -> tensor<8x4xbf16> loc("layers.1.y")
  pipe.yield %y : tensor<8x4xbf16> kept %f, %act : tensor<8x512xbf16>, tensor<8x256xbf16>
} backward_input {
^bb0(%d: tensor<8x4xbf16>, %f: tensor<8x512xbf16>, %act: tensor<8x256xbf16>):
  %da = moe.linear_input_grad %d, @narrow : (tensor<8x4xbf16>) -> tensor<8x256xbf16>
  %df = moe.swiglu_input_grad %da, %f activation <> : (tensor<8x256xbf16>, tensor<8x512xbf16>) -> tensor<8x512xbf16>
  %d1 = moe.linear_input_grad %df, @wide : (tensor<8x512xbf16>) -> tensor<8x4xbf16>
  pipe.yield %d1 : tensor<8x4xbf16> kept %d, %act : tensor<8x4xbf16>, tensor<8x256xbf16>
} weight_grad {
^bb0(%d: tensor<8x4xbf16>, %act: tensor<8x256xbf16>):
  moe.linear_weight_grad %d, %act, @narrow : tensor<8x4xbf16>, tensor<8x256xbf16>
  pipe.yield
}

// The small number that backward_input reads of a norm stays, so that the norm
// runs again in weight_grad, where its result is needed.

// RUN: moe-opt %t/half.mlir --pipe-insert-recompute=targets=norm --verify-roundtrip | FileCheck %t/half.mlir

//--- half.mlir
moe.parameter @n : tensor<512xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @a : tensor<512x512xbf16> dense #moe.initializer<normal, 0.02>

// CHECK:        kept %{{.*}}, %{{.*}} : tensor<8x512xbf16>, tensor<8x1xf32>
// CHECK-NEXT: } backward_input {
// CHECK-NOT:    moe.rms_norm %
// CHECK:      } weight_grad {
// CHECK:        %[[N:.*]], %{{.*}} = moe.rms_norm %
// CHECK-NEXT:   moe.linear_weight_grad %{{.*}}, %[[N]], @a
pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x512xbf16>):
  %n, %i = moe.rms_norm %x, @n epsilon 1.0e-06 : (tensor<8x512xbf16>) -> (tensor<8x512xbf16>, tensor<8x1xf32>) loc("layers.0.input_norm")
  %y = moe.linear %n, @a : (tensor<8x512xbf16>) -> tensor<8x512xbf16> loc("layers.0.a")
  pipe.yield %y : tensor<8x512xbf16> kept %x, %n, %i : tensor<8x512xbf16>, tensor<8x512xbf16>, tensor<8x1xf32>
} backward_input {
^bb0(%d: tensor<8x512xbf16>, %x: tensor<8x512xbf16>, %n: tensor<8x512xbf16>, %i: tensor<8x1xf32>):
  %d1 = moe.linear_input_grad %d, @a : (tensor<8x512xbf16>) -> tensor<8x512xbf16>
  %dx = moe.rms_norm_input_grad %d1, %x, %i, @n : (tensor<8x512xbf16>, tensor<8x512xbf16>, tensor<8x1xf32>) -> tensor<8x512xbf16>
  pipe.yield %dx : tensor<8x512xbf16> kept %d, %n, %d1, %x, %i : tensor<8x512xbf16>, tensor<8x512xbf16>, tensor<8x512xbf16>, tensor<8x512xbf16>, tensor<8x1xf32>
} weight_grad {
^bb0(%d: tensor<8x512xbf16>, %n: tensor<8x512xbf16>, %d1: tensor<8x512xbf16>, %x: tensor<8x512xbf16>, %i: tensor<8x1xf32>):
  moe.linear_weight_grad %d, %n, @a : tensor<8x512xbf16>, tensor<8x512xbf16>
  moe.rms_norm_weight_grad %d1, %x, %i, @n : tensor<8x512xbf16>, tensor<8x512xbf16>, tensor<8x1xf32>
  pipe.yield
}

// A dispatch runs again with a handle of its own where the first one is not
// kept; what the router decided becomes kept for it, and what the handle is for
// waits for it. Where only the rows are dropped, by name or because handles are
// kept, they follow the handle of forward, right where they are needed.

// RUN: moe-opt %t/dispatch.mlir --allow-unregistered-dialect --pass-pipeline='builtin.module(pipe-insert-recompute{targets=routed_experts},pipe.stage(pipe-place-releases))' --verify-roundtrip 2>&1 | FileCheck %t/dispatch.mlir --check-prefix=NEW
// RUN: moe-opt %t/dispatch.mlir --allow-unregistered-dialect --pass-pipeline='builtin.module(pipe-insert-recompute{targets=routed_experts keep-handles},pipe.stage(pipe-place-releases))' --verify-roundtrip 2>&1 | FileCheck %t/dispatch.mlir --check-prefixes=SAME,TARGET
// RUN: moe-opt %t/dispatch.mlir --allow-unregistered-dialect --pass-pipeline='builtin.module(pipe-insert-recompute{targets=moe.dispatch:rows},pipe.stage(pipe-place-releases))' --verify-roundtrip 2>&1 | FileCheck %t/dispatch.mlir --check-prefixes=SAME,NAME

//--- dispatch.mlir
#rows = #moe.rows<balanced = 16, capacity = 16>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
moe.parameter @up : tensor<4x16x16xbf16> expert #moe.initializer<normal, 0.02>

// NEW: remark: recompute: 2 values become kept {{.*}} the first is 'layers.0.moe.route:probabilities'
// NEW: pipe.decisions = [#pipe.decision<recompute "layers.0.moe.dispatch:rows" bytes 512 ops["layers.0.moe.dispatch.replay"] reason "routed_experts">, #pipe.decision<recompute "layers.0.moe.dispatch:counts" {{.*}}>, #pipe.decision<recompute "layers.0.moe.dispatch:handle" {{.*}}>, #pipe.decision<keep "layers.0.moe.route:probabilities" bytes -256 ops[] reason "replays need it">, #pipe.decision<keep "layers.0.moe.route:experts" bytes -256 ops[] reason "replays need it">]
// NEW: } backward {
// NEW-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[P:.*]]: tensor<8x2xf32>, %[[E:.*]]: tensor<8x2xi32>):
// NEW-NEXT: %[[ROWS:.*]], %[[RP:.*]], %[[C:.*]], %[[H:.*]] = moe.dispatch %[[X]], %[[P]], %[[E]]
// NEW-NEXT: %[[DROWS:.*]] = moe.combine_input_grad %[[D]], %[[H]]
// NEW-NEXT: moe.grouped_linear_weight_grad %[[DROWS]], %[[ROWS]], %[[C]], @up
// NEW: pipe.release %[[H]] :

// SAME-NOT: remark
// TARGET: pipe.decisions = [#pipe.decision<recompute "layers.0.moe.dispatch:rows" bytes 512 ops["layers.0.moe.dispatch.replay"] reason "routed_experts">]
// NAME: pipe.decisions = [#pipe.decision<recompute "layers.0.moe.dispatch:rows" bytes 512 ops["layers.0.moe.dispatch.replay"] reason "moe.dispatch:rows">]
// SAME: } backward {
// SAME-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[COUNTS:.*]]: tensor<4xi32>, %[[HANDLE:.*]]: !moe.handle<{{.*}}>):
// SAME-NEXT: %[[DROWS:.*]] = moe.combine_input_grad %[[D]], %[[HANDLE]]
// SAME-NEXT: %[[ROWS:.*]] = moe.combine_input_grad %[[X]], %[[HANDLE]]
// SAME-NEXT: moe.grouped_linear_weight_grad %[[DROWS]], %[[ROWS]], %[[COUNTS]], @up
pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>):
  %logits = "test.logits"() : () -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>) loc("layers.0.moe.route")
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 1 capacity 16 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<4xi32>, !handle) loc("layers.0.moe.dispatch")
  pipe.yield %x : tensor<8x16xbf16> kept %x, %rows, %counts, %handle : tensor<8x16xbf16>, tensor<?x16xbf16, #rows>, tensor<4xi32>, !handle
} backward {
^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %rows: tensor<?x16xbf16, #rows>, %counts: tensor<4xi32>, %handle: !handle):
  %drows = moe.combine_input_grad %d, %handle top_k 2 experts 4 ranks 1 capacity 16 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  moe.grouped_linear_weight_grad %drows, %rows, %counts, @up : tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<4xi32>
  pipe.yield %d : tensor<8x16xbf16>
}
