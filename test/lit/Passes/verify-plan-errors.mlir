// RUN: moe-opt %s --pipe-verify-plan --split-input-file --verify-diagnostics

//===----------------------------------------------------------------------===//
// Storage
//===----------------------------------------------------------------------===//

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    // expected-note @below {{released here}}
    pipe.release %x : tensor<8x16xbf16>
    // expected-error @below {{'moe.add' op uses argument 0 after its release}}
    %y = moe.add %x, %x : tensor<8x16xbf16>
    pipe.yield %y : tensor<8x16xbf16>
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    %y = moe.add %x, %x : tensor<8x16xbf16>
    // expected-note @below {{the other release}}
    pipe.release %x : tensor<8x16xbf16>
    // expected-error @below {{argument 0 is released twice}}
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %y : tensor<8x16xbf16>
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    %y = moe.add %x, %x : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    // expected-error @below {{'pipe.release' op result 0 is released but also yielded}}
    pipe.release %y : tensor<8x16xbf16>
    // expected-note @below {{yielded here}}
    pipe.yield %y : tensor<8x16xbf16>
  }
}

// -----

// An argument that nobody ends.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(
    // expected-error @below {{argument 0 of type 'tensor<8x16xbf16>' leaks: it is neither released nor yielded}}
    %x: tensor<8x16xbf16>):
    %y = moe.add %x, %x : tensor<8x16xbf16>
    pipe.yield %y : tensor<8x16xbf16>
  }
}

// -----

// A result without uses.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    // expected-error @below {{result 1 of type 'tensor<8x1xf32>' leaks: it is neither released nor yielded}}
    %y, %inverse = moe.rms_norm %x, @norm epsilon 1.0e-06 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %y : tensor<8x16xbf16>
  }
}

// -----

// The other regions count, too.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["tokens"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    pipe.yield %x : tensor<8x16xbf16>
  } backward_input {
  ^bb0(%d: tensor<8x16xbf16>):
    pipe.yield kept %d : tensor<8x16xbf16>
  } weight_grad {
  // expected-error @below {{argument 0 of type 'tensor<8x16xbf16>' leaks: it is neither released nor yielded}}
  ^bb0(%d: tensor<8x16xbf16>):
    pipe.yield
  }
}

// -----

// What an exchange reads, before an op has waited for it.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %r: tensor<?x16xbf16, #rows>, %handle: !handle):
    // expected-note @below {{the exchange}}
    %y = moe.combine %r, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    // expected-error @below {{argument 1 is released while an exchange may still use it}}
    pipe.release %r : tensor<?x16xbf16, #rows>
    %a = moe.add %x, %x : tensor<8x16xbf16>
    // expected-note @below {{the first op that waits for it}}
    %z = moe.add %y, %a : tensor<8x16xbf16>
    pipe.release %handle : !handle
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %a : tensor<8x16xbf16>
    pipe.release %y : tensor<8x16xbf16>
    pipe.yield %z : tensor<8x16xbf16>
  }
}

// -----

// The same where only the end of the region waits: %a might get the bytes.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %r: tensor<?x16xbf16, #rows>, %handle: !handle):
    // expected-note @below {{the exchange}}
    %y = moe.combine %r, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    // expected-error @below {{argument 1 is released while an exchange may still use it}}
    pipe.release %r : tensor<?x16xbf16, #rows>
    %a = moe.add %x, %x : tensor<8x16xbf16>
    pipe.release %handle : !handle
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %a : tensor<8x16xbf16>
    // expected-note @below {{the first op that waits for it}}
    pipe.yield %y : tensor<8x16xbf16>
  }
}

// -----

// What an exchange writes, although nobody reads it.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %r: tensor<?x16xbf16, #rows>, %handle: !handle):
    // expected-note @below {{the exchange}}
    %y = moe.combine %r, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    // expected-error @below {{result 0 is released while an exchange may still use it}}
    pipe.release %y : tensor<8x16xbf16>
    %a = moe.add %x, %x : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %handle : !handle
    pipe.release %x : tensor<8x16xbf16>
    // expected-note @below {{the first op that waits for it}}
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

//===----------------------------------------------------------------------===//
// Step lists
//===----------------------------------------------------------------------===//

// expected-error @below {{needs the attribute 'pipe.layout' (#pipe.layout<...>)}}
module {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{has 1 stages for 2 pipeline ranks; every rank needs the same number}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{has 0 stages for 1 pipeline ranks; every rank needs the same number}}
module attributes {pipe.layout = #layout} {
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  // expected-error @below {{'pipe.rank' op is not one of the layout's 1 pipeline ranks}}
  pipe.rank 1 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  // expected-note @below {{first listed here}}
  pipe.rank 0 { pipe.update }
  // expected-error @below {{'pipe.rank' op lists the steps of rank 0 again}}
  pipe.rank 0 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{has no pipe.rank 1}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.load' op names @s7, which is no pipe.stage of the module}}
    pipe.load @s7 microbatch 0 "tokens"
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  // expected-note @below {{the stage lies on rank 1}}
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.run' op uses @s1 on rank 0}}
    pipe.run @s1 microbatch 0 forward
  }
  pipe.rank 1 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.collect_loss' op names microbatch 2 of 2}}
    pipe.collect_loss @s0 microbatch 2
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.receive' op names rank 2 of 2}}
    pipe.receive @s0 microbatch 0 backward from 2
  }
  pipe.rank 1 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.send' op moves nothing in phase weight_grad}}
    pipe.send @s0 microbatch 0 weight_grad to 1
  }
  pipe.rank 1 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.wait_send' op moves nothing in phase weight_grad}}
    pipe.wait_send @s0 microbatch 0 weight_grad to 1
  }
  pipe.rank 1 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.receive' op moves nothing in phase weight_grad; transfers are forward or backward}}
    pipe.receive @s0 microbatch 0 weight_grad from 1
  }
  pipe.rank 1 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  // expected-note @below {{the stage is defined here}}
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.run' op runs the weight_grad region of @s0, which is empty}}
    pipe.run @s0 microbatch 0 weight_grad
  }
}

// -----

//===----------------------------------------------------------------------===//
// Orders that cannot be executed
//===----------------------------------------------------------------------===//

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{steps: rank 0 must end with reduce_gradients and update}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    pipe.update
  }
}

// -----

// Stages lie on ranks in model order.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{the ranks of the stages fit no placement (loop, v or bidirectional)}}
module attributes {pipe.layout = #layout} {
  // expected-note @below {{with placement loop, stage number 1 lies on rank 0, not on rank 1}}
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    pipe.run @s0 microbatch 0 forward
    pipe.reduce_gradients
    pipe.update
  }
  pipe.rank 1 {
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{steps: rank 0, step 1 (run forward of stage 0, microbatch 0): its labels were not loaded}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.run @s0 microbatch 0 forward
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// The second microbatch never runs.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{schedule: rank 0: forward of stage 0, microbatch 1 is missing}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
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

// A weight gradient that was split off has to run.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{schedule: rank 0: weight_grad of stage 0, microbatch 0 is missing}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward_input { pipe.yield } weight_grad { pipe.yield }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "labels"
    pipe.run @s0 microbatch 0 forward
    pipe.collect_loss @s0 microbatch 0
    pipe.run @s0 microbatch 0 backward_input
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{schedule: rank 0: backward of stage 0, microbatch 0: runs twice}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "labels"
    pipe.run @s0 microbatch 0 forward
    pipe.collect_loss @s0 microbatch 0
    pipe.run @s0 microbatch 0 backward
    pipe.run @s0 microbatch 0 backward
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// Messages are matched by their order.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{steps: rank 1, step 0 (receive forward of stage 1, microbatch 1, from rank 0): meets another message: rank 0, step 2 (send forward of stage 0, microbatch 0, to rank 1)}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.run @s0 microbatch 0 forward
    pipe.send @s0 microbatch 0 forward to 1
    pipe.wait_send @s0 microbatch 0 forward to 1
    pipe.load @s0 microbatch 1 "tokens"
    pipe.run @s0 microbatch 1 forward
    pipe.send @s0 microbatch 1 forward to 1
    pipe.wait_send @s0 microbatch 1 forward to 1
    pipe.receive @s0 microbatch 0 backward from 1
    pipe.run @s0 microbatch 0 backward
    pipe.receive @s0 microbatch 1 backward from 1
    pipe.run @s0 microbatch 1 backward
    pipe.reduce_gradients
    pipe.update
  }
  pipe.rank 1 {
    pipe.receive @s1 microbatch 1 forward from 0
    pipe.load @s1 microbatch 1 "labels"
    pipe.run @s1 microbatch 1 forward
    pipe.collect_loss @s1 microbatch 1
    pipe.receive @s1 microbatch 0 forward from 0
    pipe.load @s1 microbatch 0 "labels"
    pipe.run @s1 microbatch 0 forward
    pipe.collect_loss @s1 microbatch 0
    pipe.run @s1 microbatch 0 backward
    pipe.send @s1 microbatch 0 backward to 0
    pipe.wait_send @s1 microbatch 0 backward to 0
    pipe.run @s1 microbatch 1 backward
    pipe.send @s1 microbatch 1 backward to 0
    pipe.wait_send @s1 microbatch 1 backward to 0
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// Each rank waits until the other has taken a message, before it takes one.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{steps: deadlock: rank 0 waits in step 7 (wait_send forward of stage 0, microbatch 1, to rank 1) for rank 1; rank 1 waits in step 6 (wait_send backward of stage 1, microbatch 0, to rank 0) for rank 0}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.run @s0 microbatch 0 forward
    pipe.send @s0 microbatch 0 forward to 1
    pipe.load @s0 microbatch 1 "tokens"
    pipe.wait_send @s0 microbatch 0 forward to 1
    pipe.run @s0 microbatch 1 forward
    pipe.send @s0 microbatch 1 forward to 1
    pipe.wait_send @s0 microbatch 1 forward to 1
    pipe.receive @s0 microbatch 0 backward from 1
    pipe.run @s0 microbatch 0 backward
    pipe.receive @s0 microbatch 1 backward from 1
    pipe.run @s0 microbatch 1 backward
    pipe.reduce_gradients
    pipe.update
  }
  pipe.rank 1 {
    pipe.receive @s1 microbatch 0 forward from 0
    pipe.load @s1 microbatch 0 "labels"
    pipe.run @s1 microbatch 0 forward
    pipe.collect_loss @s1 microbatch 0
    pipe.run @s1 microbatch 0 backward
    pipe.send @s1 microbatch 0 backward to 0
    pipe.wait_send @s1 microbatch 0 backward to 0
    pipe.receive @s1 microbatch 1 forward from 0
    pipe.load @s1 microbatch 1 "labels"
    pipe.run @s1 microbatch 1 forward
    pipe.collect_loss @s1 microbatch 1
    pipe.run @s1 microbatch 1 backward
    pipe.send @s1 microbatch 1 backward to 0
    pipe.wait_send @s1 microbatch 1 backward to 0
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

//===----------------------------------------------------------------------===//
// Regions and interleavings
//===----------------------------------------------------------------------===//

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{'pipe.stage' op has a backward_input region that no step runs}}
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield } backward_input { pipe.yield } weight_grad { pipe.yield }
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

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  // expected-error @below {{'pipe.interleaving' op is named by no step}}
  pipe.interleaving @i0 (@s0 forward, @s0 backward) order []
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

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  // expected-error @below {{'pipe.interleaving' op has no order; run pipe-interleave first}}
  pipe.interleaving @i0 (@s0 forward, @s0 backward)
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "labels"
    pipe.run @s0 microbatch 0 forward
    pipe.collect_loss @s0 microbatch 0
    pipe.load @s0 microbatch 1 "tokens"
    pipe.load @s0 microbatch 1 "labels"
    pipe.overlap @i0 microbatches 1, 0
    pipe.collect_loss @s0 microbatch 1
    pipe.run @s0 microbatch 1 backward
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.rank 0 {
    // expected-error @below {{'pipe.overlap' op names @i0, which is no pipe.interleaving of the module}}
    pipe.overlap @i0 microbatches 0, 0
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.interleaving @i0 (@s0 forward, @s0 backward) order []
  pipe.rank 0 {
    // expected-error @below {{'pipe.overlap' op names microbatch 1 of 1}}
    pipe.overlap @i0 microbatches 0, 1
  }
}
