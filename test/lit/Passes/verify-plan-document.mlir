// RUN: moe-opt %s --pipe-verify-plan --split-input-file -o /dev/null
// RUN: not moe-opt %s --pipe-verify-plan=document --split-input-file 2>&1 | FileCheck %s
// RUN: moe-opt %S/../Tools/moe-opt-plan.mlir --moe-plan --mlir-print-debuginfo | moe-opt --pipe-verify-plan=document -o /dev/null
// RUN: moe-opt %S/../Tools/moe-opt-plan.mlir --moe-plan='schedule=zb-h1 recompute=moe offload=attn_proj' --mlir-print-debuginfo | moe-opt --pipe-verify-plan=document -o /dev/null

// The rules of the IR look at one stage and at the order of steps. How many
// bytes a message has is known to the document, as are all places.

// CHECK: error: {{.*}}rank 1, step 0 (receive of stage s1, microbatch 0, value input) meets another message: rank 0, step 2 (send of stage s0, microbatch 0, value first)

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02> {trainable = false, decay = false}
  moe.parameter @w : tensor<32x64xbf16> dense #moe.initializer<normal, 0.02> {trainable = false, decay = false}
  pipe.stage @s0 rank 0 blocks ["embedding"] inputs ["tokens"] outputs ["hidden"] forward {
  ^bb0(%t: tensor<8xi32>):
    %x = moe.embedding %t, @table : (tensor<8xi32>) -> tensor<8x16xbf16> loc("first")
    pipe.release %t : tensor<8xi32>
    pipe.yield %x : tensor<8x16xbf16>
  }
  pipe.stage @s1 rank 1 blocks ["head"] inputs ["hidden", "labels"] outputs ["loss"] forward {
  ^bb0(%x: tensor<8x64xbf16>, %t: tensor<8xi32>):
    %l = moe.linear %x, @w : (tensor<8x64xbf16>) -> tensor<8x32xbf16> loc("head")
    pipe.release %x : tensor<8x64xbf16>
    %loss, %z = moe.cross_entropy %l, %t grad_scale 0.125 : (tensor<8x32xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>) loc("loss")
    pipe.release %l : tensor<8x32xbf16>
    pipe.release %t : tensor<8xi32>
    pipe.release %z : tensor<8xf32>
    pipe.yield %loss : tensor<1xf32>
  }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.run @s0 microbatch 0 forward
    pipe.send @s0 microbatch 0 forward to 1
    pipe.wait_send @s0 microbatch 0 forward to 1
  }
  pipe.rank 1 {
    pipe.receive @s1 microbatch 0 forward from 0
    pipe.load @s1 microbatch 0 "labels"
    pipe.run @s1 microbatch 0 forward
    pipe.collect_loss @s1 microbatch 0
  }
}

// -----

// Ops of a plan have names.

// CHECK: error: $.stages[0].values[2].name: must not be empty

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02> {trainable = false, decay = false}
  pipe.stage @s0 rank 0 blocks ["all"] inputs ["tokens", "labels"] outputs ["loss"] forward {
  ^bb0(%t: tensor<8xi32>, %labels: tensor<8xi32>):
    %x = moe.embedding %t, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
    pipe.release %t : tensor<8xi32>
    %loss, %z = moe.cross_entropy %x, %labels grad_scale 0.125 : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %labels : tensor<8xi32>
    pipe.release %z : tensor<8xf32>
    pipe.yield %loss : tensor<1xf32>
  }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "labels"
    pipe.run @s0 microbatch 0 forward
    pipe.collect_loss @s0 microbatch 0
  }
}
