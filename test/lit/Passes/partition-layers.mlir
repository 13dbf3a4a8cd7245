// RUN: moe-opt %s --pipe-partition-stages=layers=1,3 | FileCheck %s
// RUN: not moe-opt %s --pipe-partition-stages=layers=1,2 2>&1 | FileCheck %s --check-prefix=SUM
// RUN: not moe-opt %s --pipe-partition-stages=layers=1,1,2 2>&1 | FileCheck %s --check-prefix=COUNT
// RUN: not moe-opt %s --pipe-partition-stages=layers=0,4 2>&1 | FileCheck %s --check-prefix=EMPTY

// The layers of each stage can be given.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>

// CHECK: pipe.stage @s0 rank 0 blocks ["layers.0"]
// CHECK: pipe.stage @s1 rank 1 blocks ["layers.1", "layers.2", "layers.3"]
// SUM: error: the partition has 3 layers; the model has 4
// COUNT: error: the partition names the layers of 3 stages; there are 2
// EMPTY: error: the partition gives a stage 0 layers; every stage needs 1 to 4
module attributes {pipe.layout = #layout} {
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
}
