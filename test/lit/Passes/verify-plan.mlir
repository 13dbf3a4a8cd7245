// RUN: moe-opt %s --pipe-verify-plan --split-input-file | FileCheck %s

// Releases behind exchanges, and gradients within backward.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// CHECK-LABEL: module @exchange
module @exchange attributes {pipe.layout = #layout} {
  moe.parameter @table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @experts : tensor<2x16x16xbf16> expert #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["tokens", "labels"] outputs ["loss"] forward {
  ^bb0(%tokens: tensor<8xi32>, %labels: tensor<8xi32>):
    %x = moe.embedding %tokens, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
    %logits = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
    %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
        : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
    pipe.release %logits : tensor<8x4xf32>
    %r, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
        : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
        -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %fc = moe.grouped_linear %r, %counts, @experts : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %rp : tensor<?xf32, #rows>
    pipe.release %counts : tensor<2xi32>
    %y = moe.combine %fc, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %loss, %lse = moe.cross_entropy %y, %labels grad_scale 1.0
        : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
    pipe.release %fc : tensor<?x16xbf16, #rows>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %lse : tensor<8xf32>
    pipe.release %handle : !handle
    pipe.release %labels : tensor<8xi32>
    pipe.release %tokens : tensor<8xi32>
    pipe.yield %loss : tensor<1xf32>
  } backward {
    pipe.yield
  }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "labels"
    pipe.run @s0 microbatch 0 forward
    pipe.collect_loss @s0 microbatch 0
    pipe.run @s0 microbatch 0 backward
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// Where nothing waits for an exchange, the end of the region does: releases may
// stand right before it, in any order.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// CHECK-LABEL: module @end_of_region
module @end_of_region attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %r: tensor<?x16xbf16, #rows>, %handle: !handle):
    %y = moe.combine %r, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %x, %x : tensor<8x16xbf16>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %handle : !handle
    pipe.yield %z : tensor<8x16xbf16>
  } backward {
  ^bb0(%d: tensor<8x16xbf16>):
    pipe.yield %d : tensor<8x16xbf16>
  }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "labels"
    pipe.run @s0 microbatch 0 forward
    pipe.collect_loss @s0 microbatch 0
    pipe.run @s0 microbatch 0 backward
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// Two ranks and a backward in halves: the weight gradient may run later.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>

// CHECK-LABEL: module @halves
module @halves attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward_input { pipe.yield } weight_grad { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward_input { pipe.yield } weight_grad { pipe.yield }
  pipe.rank 1 {
    pipe.receive @s1 microbatch 0 forward from 0
    pipe.load @s1 microbatch 0 "labels"
    pipe.run @s1 microbatch 0 forward
    pipe.collect_loss @s1 microbatch 0
    pipe.run @s1 microbatch 0 backward_input
    pipe.send @s1 microbatch 0 backward to 0
    pipe.run @s1 microbatch 0 weight_grad
    pipe.wait_send @s1 microbatch 0 backward to 0
    pipe.reduce_gradients
    pipe.update
  }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.run @s0 microbatch 0 forward
    pipe.send @s0 microbatch 0 forward to 1
    pipe.receive @s0 microbatch 0 backward from 1
    pipe.run @s0 microbatch 0 backward_input
    pipe.wait_send @s0 microbatch 0 forward to 1
    pipe.run @s0 microbatch 0 weight_grad
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// Two stages on one rank hand over by messages of the rank to itself, and a
// forward overlaps a backward of another microbatch.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>

// CHECK-LABEL: module @overlap
module @overlap attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.interleaving @i0 (@s0 forward, @s1 backward) order []
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.run @s0 microbatch 0 forward
    pipe.send @s0 microbatch 0 forward to 0
    pipe.receive @s1 microbatch 0 forward from 0
    pipe.load @s1 microbatch 0 "labels"
    pipe.run @s1 microbatch 0 forward
    pipe.collect_loss @s1 microbatch 0
    pipe.load @s0 microbatch 1 "tokens"
    pipe.wait_send @s0 microbatch 0 forward to 0
    pipe.overlap @i0 microbatches 1, 0
    pipe.send @s0 microbatch 1 forward to 0
    pipe.send @s1 microbatch 0 backward to 0
    pipe.receive @s1 microbatch 1 forward from 0
    pipe.receive @s0 microbatch 0 backward from 0
    pipe.load @s1 microbatch 1 "labels"
    pipe.run @s1 microbatch 1 forward
    pipe.collect_loss @s1 microbatch 1
    pipe.run @s0 microbatch 0 backward
    pipe.wait_send @s1 microbatch 0 backward to 0
    pipe.run @s1 microbatch 1 backward
    pipe.send @s1 microbatch 1 backward to 0
    pipe.receive @s0 microbatch 1 backward from 0
    pipe.run @s0 microbatch 1 backward
    pipe.wait_send @s0 microbatch 1 forward to 0
    pipe.wait_send @s1 microbatch 1 backward to 0
    pipe.reduce_gradients
    pipe.update
  }
}
