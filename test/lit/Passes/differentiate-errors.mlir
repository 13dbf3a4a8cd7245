// RUN: moe-opt %s --pass-pipeline='builtin.module(moe-differentiate)' --split-input-file --verify-diagnostics

// expected-error @below {{'moe.block' op is differentiated already}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
backward(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16>
}

// -----

// expected-error @below {{'moe.block' op has no forward program to differentiate}}
moe.block @b decoder inputs(hidden) outputs(hidden)

// -----

moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  // expected-error @below {{'moe.linear_input_grad' op cannot be differentiated}}
  %y = moe.linear_input_grad %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}

// -----

// A gradient has to leave towards the block before.

moe.parameter @table : tensor<32x32xbf16> dense #moe.initializer<normal, 0.02>
// expected-error @below {{has no gradient for input 0: nothing differentiable uses it}}
moe.block @b head inputs(hidden, labels) outputs(loss)
forward(%x: tensor<8x16xbf16>, %labels: tensor<8xi32>) {
  %logits = moe.embedding %labels, @table : (tensor<8xi32>) -> tensor<8x32xbf16>
  %loss, %lse = moe.cross_entropy %logits, %labels grad_scale 1.0
      : (tensor<8x32xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  moe.yield %loss : tensor<1xf32>
}

// -----

moe.block @b head inputs(hidden, labels) outputs(loss)
forward(%x: tensor<8x16xbf16>, %labels: tensor<8xi32>) {
  // expected-error @below {{needs `grad_scale` to be differentiated}}
  %loss, %lse = moe.cross_entropy %x, %labels : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  moe.yield %loss : tensor<1xf32>
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @w : tensor<2x16x16xbf16> expert #moe.initializer<normal, 0.02>
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %logits = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  // expected-error @below {{has a gradient for only one of rows and row_probabilities; both must be used behind it}}
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %fc = moe.grouped_linear %rows, %counts, @w : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %y = moe.combine %fc, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}
