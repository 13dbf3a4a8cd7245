// RUN: moe-opt %s --pipe-partition-stages --split-input-file --verify-roundtrip | FileCheck %s

// One layer a rank. The embedding joins the first, the head the last. Forward
// regions follow each other, the other two run backward.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>

// CHECK-LABEL: module @even
module @even attributes {pipe.layout = #layout} {
  moe.parameter @table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>

  // CHECK-NOT: moe.block
  // CHECK: pipe.stage @s0 rank 0 blocks ["embedding", "layers.0"] inputs ["tokens"] outputs ["hidden"] forward {
  // CHECK-NEXT: ^bb0(%[[TOKENS:.*]]: tensor<8xi32>):
  // CHECK-NEXT: %[[X:.*]] = moe.embedding %[[TOKENS]], @table
  // CHECK-NEXT: %[[Y:.*]] = moe.linear %[[X]], @w
  // CHECK-NEXT: pipe.yield %[[Y]] : tensor<8x16xbf16> kept %[[TOKENS]], %[[X]] : tensor<8xi32>, tensor<8x16xbf16>
  // CHECK-NEXT: } backward_input {
  // CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>, %[[TOKENS:.*]]: tensor<8xi32>, %[[X:.*]]: tensor<8x16xbf16>):
  // CHECK-NEXT: %[[DX:.*]] = moe.linear_input_grad %[[D]], @w
  // No gradient leaves the first stage. The last block comes first.
  // CHECK-NEXT: pipe.yield kept %[[D]], %[[X]], %[[DX]], %[[TOKENS]] :
  // CHECK-NEXT: } weight_grad {
  // CHECK-NEXT: ^bb0(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[DX:.*]]: tensor<8x16xbf16>, %[[TOKENS:.*]]: tensor<8xi32>):
  // CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[X]], @w
  // CHECK-NEXT: moe.embedding_weight_grad %[[DX]], %[[TOKENS]], @table
  // CHECK-NEXT: pipe.yield{{$}}
  // CHECK-NEXT: }
  moe.block @embedding embedding inputs(tokens) outputs(hidden)
  forward(%tokens: tensor<8xi32>) {
    %x = moe.embedding %tokens, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
    moe.yield %x : tensor<8x16xbf16> saved(%tokens : tensor<8xi32>)
  }
  backward(%d: tensor<8x16xbf16>, %tokens: tensor<8xi32>) {
    moe.yield saved(%d, %tokens : tensor<8x16xbf16>, tensor<8xi32>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %tokens: tensor<8xi32>) {
    moe.embedding_weight_grad %d, %tokens, @table : tensor<8x16xbf16>, tensor<8xi32>
    moe.yield
  }
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }

  // CHECK: pipe.stage @s1 rank 1 blocks ["layers.1", "head"] inputs ["hidden", "labels"] outputs ["loss"] forward {
  // CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<8x16xbf16>, %[[LABELS:.*]]: tensor<8xi32>):
  // CHECK-NEXT: %[[Y:.*]] = moe.rope %[[X]]
  // CHECK-NEXT: %[[LOSS:.*]], %[[LSE:.*]] = moe.cross_entropy %[[Y]], %[[LABELS]]
  // CHECK-NEXT: pipe.yield %[[LOSS]] : tensor<1xf32> kept %[[LABELS]], %[[Y]], %[[LSE]] :
  // Nothing enters from behind the last stage.
  // CHECK-NEXT: } backward_input {
  // CHECK-NEXT: ^bb0(%[[LABELS:.*]]: tensor<8xi32>, %[[Y:.*]]: tensor<8x16xbf16>, %[[LSE:.*]]: tensor<8xf32>):
  // CHECK-NEXT: %[[DY:.*]] = moe.cross_entropy_input_grad %[[Y]], %[[LABELS]], %[[LSE]]
  // CHECK-NEXT: %[[DX:.*]] = moe.rope_input_grad %[[DY]]
  // CHECK-NEXT: pipe.yield %[[DX]] : tensor<8x16xbf16>{{$}}
  // CHECK-NEXT: } weight_grad {
  // CHECK-NEXT: pipe.yield{{$}}
  moe.block @layers.1 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.rope %x heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16>
  }
  backward(%d: tensor<8x16xbf16>) {
    %dx = moe.rope_input_grad %d heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16>
  }
  weight_grad() {
    moe.yield
  }
  moe.block @head head inputs(hidden, labels) outputs(loss)
  forward(%x: tensor<8x16xbf16>, %labels: tensor<8xi32>) {
    %loss, %lse = moe.cross_entropy %x, %labels grad_scale 0.125
        : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
    moe.yield %loss : tensor<1xf32> saved(%labels, %x, %lse : tensor<8xi32>, tensor<8x16xbf16>, tensor<8xf32>)
  }
  backward(%labels: tensor<8xi32>, %x: tensor<8x16xbf16>, %lse: tensor<8xf32>) {
    %dx = moe.cross_entropy_input_grad %x, %labels, %lse scale 0.125
        : (tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16>
  }
  weight_grad() {
    moe.yield
  }
}

// -----

// A value that several blocks save is kept once: the second layer's input is
// what the first one, too, keeps of its result. The same in backward: the
// gradient between them serves both weight gradients.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>

// CHECK-LABEL: module @once
module @once attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>

  // CHECK: pipe.stage @s0 rank 0 blocks ["layers.0", "layers.1"] inputs ["hidden"] outputs ["hidden"] forward {
  // CHECK-NEXT: ^bb0(%[[X:.*]]: tensor<8x16xbf16>):
  // CHECK-NEXT: %[[Y:.*]] = moe.linear %[[X]], @w
  // CHECK-NEXT: %[[Z:.*]] = moe.linear %[[Y]], @w
  // CHECK-NEXT: pipe.yield %[[Z]] : tensor<8x16xbf16> kept %[[X]], %[[Y]] : tensor<8x16xbf16>, tensor<8x16xbf16>
  // CHECK-NEXT: } backward_input {
  // CHECK-NEXT: ^bb0(%[[DZ:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[Y:.*]]: tensor<8x16xbf16>):
  // CHECK-NEXT: %[[DY:.*]] = moe.linear_input_grad %[[DZ]], @w
  // CHECK-NEXT: %[[DX:.*]] = moe.linear_input_grad %[[DY]], @w
  // CHECK-NEXT: pipe.yield %[[DX]] : tensor<8x16xbf16> kept %[[DZ]], %[[Y]], %[[DY]], %[[X]] :
  // CHECK-NEXT: } weight_grad {
  // CHECK-NEXT: ^bb0(%[[DZ:.*]]: tensor<8x16xbf16>, %[[Y:.*]]: tensor<8x16xbf16>, %[[DY:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>):
  // CHECK-NEXT: moe.linear_weight_grad %[[DZ]], %[[Y]], @w
  // CHECK-NEXT: moe.linear_weight_grad %[[DY]], %[[X]], @w
  // CHECK-NEXT: moe.linear_weight_grad %[[DY]], %[[Y]], @w
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x, %y : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %y: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x, %y : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %y: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.linear_weight_grad %d, %y, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
  moe.block @layers.1 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
}

// -----

// What an even share leaves over goes to the ranks between the first and the
// last, which carry the embedding and the head.

#layout = #pipe.layout<pipeline_ranks = 4, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>

// CHECK-LABEL: module @inner
// CHECK: pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"]
// CHECK: pipe.stage @s1 rank 1 blocks ["layers.1", "layers.2"] inputs ["hidden"] outputs ["hidden"]
// CHECK: pipe.stage @s2 rank 2 blocks ["layers.3", "layers.4"] inputs ["hidden"] outputs ["hidden"]
// CHECK: pipe.stage @s3 rank 3 blocks ["layers.5"] inputs ["hidden"] outputs ["hidden"]
// CHECK-NOT: pipe.stage
module @inner attributes {pipe.layout = #layout} {
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.1 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.2 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.3 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.4 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.5 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
}

// -----

// Then to the last rank.

#layout = #pipe.layout<pipeline_ranks = 3, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>

// CHECK-LABEL: module @last
// CHECK: pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"]
// CHECK: pipe.stage @s1 rank 1 blocks ["layers.1", "layers.2"] inputs ["hidden"] outputs ["hidden"]
// CHECK: pipe.stage @s2 rank 2 blocks ["layers.3", "layers.4"] inputs ["hidden"] outputs ["hidden"]
// CHECK-NOT: pipe.stage
module @last attributes {pipe.layout = #layout} {
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.1 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.2 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.3 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @layers.4 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
}
