// RUN: moe-opt %s --pass-pipeline='builtin.module(pipe.stage(pipe-place-releases))' --verify-roundtrip | FileCheck %s

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @head : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @up : tensor<16x8xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @gate_up : tensor<2x16x16xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @down : tensor<2x16x8xbf16> expert #moe.initializer<normal, 0.02>

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// Behind the last use; a result without uses behind its op; an argument without
// uses at the front; what the region yields or keeps not at all.

// CHECK-LABEL: pipe.stage @last_use
// CHECK: ^bb0(%[[X:.*]]: tensor<8x16xbf16>, %[[LABELS:.*]]: tensor<8xi32>):
// CHECK-NEXT: pipe.release %[[LABELS]] : tensor<8xi32>
// CHECK-NEXT: %[[N:.*]], %[[INVERSE:.*]] = moe.rms_norm %[[X]], @norm
// CHECK-NEXT: pipe.release %[[INVERSE]] : tensor<8x1xf32>
// CHECK-NEXT: %[[A:.*]] = moe.linear %[[N]], @w
// CHECK-NEXT: %[[B:.*]] = moe.linear %[[A]], @w
// CHECK-NEXT: %[[C:.*]] = moe.add %[[N]], %[[B]]
// CHECK-NEXT: pipe.release %[[N]] : tensor<8x16xbf16>
// CHECK-NEXT: pipe.release %[[B]] : tensor<8x16xbf16>
// CHECK-NEXT: pipe.yield %[[C]] : tensor<8x16xbf16> kept %[[X]], %[[A]] :
// CHECK-NEXT: } backward_input {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[A:.*]]: tensor<8x16xbf16>):
// CHECK-NEXT: pipe.release %[[X]] : tensor<8x16xbf16>
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[A]], @w
// CHECK-NEXT: pipe.release %[[A]] : tensor<8x16xbf16>
// CHECK-NEXT: %[[DX:.*]] = moe.linear_input_grad %[[D]], @w
// CHECK-NEXT: pipe.yield %[[DX]] : tensor<8x16xbf16> kept %[[D]] :
// CHECK-NEXT: } weight_grad {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>):
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[D]], @w
// CHECK-NEXT: pipe.release %[[D]] : tensor<8x16xbf16>
// CHECK-NEXT: pipe.yield
pipe.stage @last_use rank 0 blocks [] inputs ["hidden", "labels"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>, %labels: tensor<8xi32>):
  %n, %inverse = moe.rms_norm %x, @norm epsilon 1.0e-06 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  %a = moe.linear %n, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %b = moe.linear %a, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %c = moe.add %n, %b : tensor<8x16xbf16>
  pipe.yield %c : tensor<8x16xbf16> kept %x, %a : tensor<8x16xbf16>, tensor<8x16xbf16>
} backward_input {
^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %a: tensor<8x16xbf16>):
  moe.linear_weight_grad %d, %a, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
  %dx = moe.linear_input_grad %d, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  pipe.yield %dx : tensor<8x16xbf16> kept %d : tensor<8x16xbf16>
} weight_grad {
^bb0(%d: tensor<8x16xbf16>):
  moe.linear_weight_grad %d, %d, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
  pipe.yield
}

// An exchange runs beside the compute stream. What dispatch reads ends behind
// the first op that waits for dispatch, not behind dispatch; what combine reads
// (the experts' output and, once, the handle) behind the op that takes its
// result: the rotation in between does not wait.

// CHECK-LABEL: pipe.stage @exchange
// CHECK: ^bb0(%[[X:.*]]: tensor<8x16xbf16>):
// CHECK-NEXT: %[[LOGITS:.*]] = moe.linear %[[X]], @router
// CHECK-NEXT: %[[P:.*]], %[[E:.*]] = moe.route %[[LOGITS]]
// CHECK-NEXT: pipe.release %[[LOGITS]]
// CHECK-NEXT: %[[ROWS:.*]], %[[RP:.*]], %[[COUNTS:.*]], %[[HANDLE:.*]] = moe.dispatch %[[X]], %[[P]], %[[E]]
// CHECK-NEXT: %[[R:.*]] = moe.rope %[[X]]
// CHECK-NEXT: %[[FC1:.*]] = moe.grouped_linear %[[ROWS]], %[[COUNTS]], @gate_up
// CHECK-NEXT: pipe.release %[[X]] :
// CHECK-NEXT: pipe.release %[[P]] :
// CHECK-NEXT: pipe.release %[[E]] :
// CHECK-NEXT: pipe.release %[[ROWS]] :
// CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] scale %[[RP]] counts %[[COUNTS]]
// CHECK-NEXT: pipe.release %[[RP]] :
// CHECK-NEXT: pipe.release %[[FC1]] :
// CHECK-NEXT: %[[FC2:.*]] = moe.grouped_linear %[[ACT]], %[[COUNTS]], @down
// CHECK-NEXT: pipe.release %[[COUNTS]] :
// CHECK-NEXT: pipe.release %[[ACT]] :
// CHECK-NEXT: %[[Y:.*]] = moe.combine %[[FC2]], %[[HANDLE]]
// CHECK-NEXT: %[[S:.*]] = moe.rope %[[R]]
// CHECK-NEXT: pipe.release %[[R]] :
// CHECK-NEXT: %[[SUM:.*]] = moe.add %[[Y]], %[[S]]
// CHECK-NEXT: pipe.release %[[HANDLE]] : !moe.handle
// CHECK-NEXT: pipe.release %[[FC2]] :
// CHECK-NEXT: pipe.release %[[Y]] :
// CHECK-NEXT: pipe.release %[[S]] :
// CHECK-NEXT: pipe.yield %[[SUM]]
pipe.stage @exchange rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>):
  %logits = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %r = moe.rope %x heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
  %fc1 = moe.grouped_linear %rows, %counts, @gate_up : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %act = moe.swiglu %fc1 scale %rp counts %counts activation <>
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>) -> tensor<?x8xbf16, #rows>
  %fc2 = moe.grouped_linear %act, %counts, @down : (tensor<?x8xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %y = moe.combine %fc2, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  %s = moe.rope %r heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
  %sum = moe.add %y, %s : tensor<8x16xbf16>
  pipe.yield %sum : tensor<8x16xbf16>
}

// An exchange that feeds the next one is over when that one is. Results that
// nobody reads are still written until then: they do not end right behind their
// op. Where nothing waits, the end of the region does.

// CHECK-LABEL: pipe.stage @end_of_region
// CHECK: } backward {
// CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>, %[[RP:.*]]: tensor<?xf32, #{{.*}}>, %[[HANDLE:.*]]: !moe.handle<{{.*}}>):
// CHECK-NEXT: %[[DROWS:.*]] = moe.combine_input_grad %[[D]], %[[HANDLE]]
// CHECK-NEXT: %[[DX:.*]], %[[DP:.*]] = moe.dispatch_input_grad %[[DROWS]], %[[RP]], %[[HANDLE]]
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[D]], @w
// CHECK-NEXT: pipe.release %[[D]] :
// CHECK-NEXT: pipe.release %[[RP]] :
// CHECK-NEXT: pipe.release %[[HANDLE]] :
// CHECK-NEXT: pipe.release %[[DROWS]] :
// CHECK-NEXT: pipe.release %[[DP]] :
// CHECK-NEXT: pipe.yield %[[DX]]
pipe.stage @end_of_region rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>):
  %logits = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %y = moe.combine %rows, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  pipe.yield %y : tensor<8x16xbf16> kept %rp, %handle : tensor<?xf32, #rows>, !handle
} backward {
^bb0(%d: tensor<8x16xbf16>, %rp: tensor<?xf32, #rows>, %handle: !handle):
  %drows = moe.combine_input_grad %d, %handle top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  %dx, %dp = moe.dispatch_input_grad %drows, %rp, %handle top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, !handle) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
  moe.linear_weight_grad %d, %d, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
  pipe.yield %dx : tensor<8x16xbf16>
}

// A gradient overwrites what it is the gradient of, when that is read for the
// last time: the bytes are released once, behind the last use of the gradient.
// Here and in the other way backward; in the latter they are kept on.

// CHECK-LABEL: pipe.stage @logits
// CHECK: } backward {
// CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<8x16xbf16>, %[[LOGITS:.*]]: tensor<8x32xbf16>, %[[LABELS:.*]]: tensor<8xi32>, %[[LSE:.*]]: tensor<8xf32>):
// CHECK-NEXT: %[[D:.*]] = moe.cross_entropy_input_grad %[[LOGITS]], %[[LABELS]], %[[LSE]] scale 0.125 {moe.in_place}
// CHECK-NEXT: pipe.release %[[LABELS]] :
// CHECK-NEXT: pipe.release %[[LSE]] :
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[X]], @head
// CHECK-NEXT: pipe.release %[[X]] :
// CHECK-NEXT: pipe.release %[[D]] :
// CHECK-NEXT: pipe.yield
// CHECK-NEXT: } backward_input {
// CHECK: %[[D:.*]] = moe.cross_entropy_input_grad {{.*}} {moe.in_place}
// CHECK: pipe.yield kept %{{.*}}, %[[D]] :
pipe.stage @logits rank 0 blocks [] inputs ["tokens", "labels"] outputs ["loss"] forward {
^bb0(%x: tensor<8x16xbf16>, %labels: tensor<8xi32>):
  %n = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %logits = moe.linear %n, @head : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
  %loss, %lse = moe.cross_entropy %logits, %labels grad_scale 0.125 : (tensor<8x32xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  pipe.yield %loss : tensor<1xf32> kept %n, %logits, %labels, %lse : tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<8xi32>, tensor<8xf32>
} backward {
^bb0(%n: tensor<8x16xbf16>, %logits: tensor<8x32xbf16>, %labels: tensor<8xi32>, %lse: tensor<8xf32>):
  %d = moe.cross_entropy_input_grad %logits, %labels, %lse scale 0.125 : (tensor<8x32xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x32xbf16>
  moe.linear_weight_grad %d, %n, @head : tensor<8x32xbf16>, tensor<8x16xbf16>
  pipe.yield
} backward_input {
^bb0(%n: tensor<8x16xbf16>, %logits: tensor<8x32xbf16>, %labels: tensor<8xi32>, %lse: tensor<8xf32>):
  %d = moe.cross_entropy_input_grad %logits, %labels, %lse scale 0.125 : (tensor<8x32xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x32xbf16>
  pipe.yield kept %n, %d : tensor<8x16xbf16>, tensor<8x32xbf16>
} weight_grad {
^bb0(%n: tensor<8x16xbf16>, %d: tensor<8x32xbf16>):
  moe.linear_weight_grad %d, %n, @head : tensor<8x32xbf16>, tensor<8x16xbf16>
  pipe.yield
}

// Not where the operand is read later, by whatever stream, or is a buffer of a
// transfer; where an exchange has read it that the op waits for, it may be.

// CHECK-LABEL: pipe.stage @not_in_place
// CHECK: } backward {
// CHECK: moe.swiglu_input_grad
// CHECK-NOT: moe.in_place
// CHECK: moe.linear_weight_grad
// CHECK: moe.swiglu_input_grad
// CHECK-NOT: moe.in_place
// CHECK: pipe.yield
pipe.stage @not_in_place rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x16xbf16>):
  %h = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %a = moe.swiglu %h activation <> : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
  %y = moe.linear %a, @up : (tensor<8x8xbf16>) -> tensor<8x16xbf16>
  pipe.yield %y : tensor<8x16xbf16> kept %h, %x : tensor<8x16xbf16>, tensor<8x16xbf16>
} backward {
^bb0(%d: tensor<8x16xbf16>, %h: tensor<8x16xbf16>, %x: tensor<8x16xbf16>):
  %da = moe.linear_input_grad %d, @up : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
  // The product is read again, by an op behind.
  %dh = moe.swiglu_input_grad %da, %h activation <> : (tensor<8x8xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.linear_weight_grad %dh, %h, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
  // What came from another stage lies in the buffer of its receive.
  %dx = moe.swiglu_input_grad %da, %x activation <> : (tensor<8x8xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %s = moe.add %dx, %dh : tensor<8x16xbf16>
  pipe.yield %s : tensor<8x16xbf16>
}
