// RUN: moe-opt %s --pipe-partition-stages=stages-per-rank=2 --verify-roundtrip | FileCheck %s --check-prefix=LOOP
// RUN: moe-opt %s --pipe-partition-stages='stages-per-rank=2 placement=v' --verify-roundtrip | FileCheck %s --check-prefix=V
// RUN: moe-opt %s --pipe-partition-stages='stages-per-rank=2 placement=bidirectional' --verify-roundtrip | FileCheck %s --check-prefix=BOTH
// RUN: not moe-opt %s --pipe-partition-stages='stages-per-rank=3' 2>&1 | FileCheck %s --check-prefix=DEEP
// RUN: not moe-opt %s --pipe-partition-stages='placement=v' 2>&1 | FileCheck %s --check-prefix=ONE
// RUN: not moe-opt %s --pipe-partition-stages='placement=spiral' 2>&1 | FileCheck %s --check-prefix=NAME

// DEEP: error: the model has 5 decoder layers for 6 stages (2 pipeline ranks, 3 each); every stage needs a layer of its own
// ONE: error: schedule: placement v needs two stages a rank or more
// NAME: error: unknown placement 'spiral'; known: loop, v, bidirectional

// A remainder goes to inner stages.

// LOOP: pipe.stage @s0 rank 0 blocks ["layers.0"]
// LOOP: pipe.stage @s1 rank 1 blocks ["layers.1", "layers.2"]
// LOOP: pipe.stage @s2 rank 0 blocks ["layers.3"]
// LOOP: pipe.stage @s3 rank 1 blocks ["layers.4"]

// V: pipe.stage @s0 rank 0 blocks ["layers.0"]
// V: pipe.stage @s1 rank 1 blocks ["layers.1", "layers.2"]
// V: pipe.stage @s2 rank 1 blocks ["layers.3"]
// V: pipe.stage @s3 rank 0 blocks ["layers.4"]

// The second copy runs the other way. Its parameters are tied to the first's;
// what is tied there already (@w4), to the same.

// BOTH: moe.parameter @w0 :
// BOTH-NEXT: moe.parameter @w0.copy : {{.*}} {tied_to = @w0}
// BOTH: moe.parameter @w4 : {{.*}} {tied_to = @w0}
// BOTH-NEXT: moe.parameter @w4.copy : {{.*}} {tied_to = @w0}
// BOTH: pipe.stage @s0 rank 0 blocks ["layers.0", "layers.1"]
// BOTH: pipe.stage @s1 rank 1 blocks ["layers.2", "layers.3", "layers.4"]
// BOTH: pipe.stage @s2 rank 1 blocks ["layers.0", "layers.1"]
// BOTH-NOT: @w0{{[^.]}}
// BOTH: moe.linear %{{.*}}, @w0.copy
// BOTH: } backward_input {
// BOTH: moe.linear_input_grad %{{.*}}, @w0.copy
// BOTH: } weight_grad {
// BOTH: moe.linear_weight_grad %{{.*}}, %{{.*}}, @w0.copy
// BOTH: pipe.stage @s3 rank 0 blocks ["layers.2", "layers.3", "layers.4"]

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w0 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w1 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w2 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w3 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w4 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @w0}
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w0 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w0 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w0 : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
  moe.block @layers.1 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w1 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w1 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w1 : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
  moe.block @layers.2 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w2 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w2 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w2 : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
  moe.block @layers.3 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w3 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w3 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w3 : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
  moe.block @layers.4 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) {
    %y = moe.linear %x, @w4 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %y : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
  }
  backward(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    %dx = moe.linear_input_grad %d, @w4 : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    moe.yield %dx : tensor<8x16xbf16> saved(%d, %x : tensor<8x16xbf16>, tensor<8x16xbf16>)
  }
  weight_grad(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>) {
    moe.linear_weight_grad %d, %x, @w4 : tensor<8x16xbf16>, tensor<8x16xbf16>
    moe.yield
  }
}
