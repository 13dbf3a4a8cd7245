// RUN: moe-opt %s --pipe-verify-plan --split-input-file --verify-diagnostics

// One file for each rule and published bug of dispatch handles.

// R1: forward only, the handle is released by nobody (torchtitan #2107: only the
// backward popped it).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-error @below {{result 3 of type '!moe.handle<tokens = 8, top_k = 2, experts = 4>' leaks: it is neither released nor yielded [R1 linear-handle]}}
    // expected-note @below {{made here}}
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    // expected-note @below {{used here}}
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    // expected-note @below {{the region ends here}}
    pipe.yield %z : tensor<8x16xbf16>
  }
}

// -----

// R1: released by the combine and by the dispatch (torchtitan: two objects own
// one handle).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-note @below {{made here}}
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    // expected-note @below {{used here}}
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    // expected-note @below {{the other release}}
    pipe.release %h : !handle
    // expected-error @below {{result 3 is released twice [R1 linear-handle]}}
    pipe.release %h : !handle
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    // expected-note @below {{the region ends here}}
    pipe.yield %z : tensor<8x16xbf16>
  }
}

// -----

// R1: kept twice, it would be released twice.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-note @below {{made here}}
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    // expected-note @below {{used here}}
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    // expected-error @below {{passes on result 3 twice: it would have two owners [R1 linear-handle]}}
    // expected-note @below {{the region ends here}}
    pipe.yield %z : tensor<8x16xbf16> kept %h, %h : !handle, !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %h: !handle, %h2: !handle):
    %dr = moe.combine_input_grad %d, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
    %a = moe.add %d, %d : tensor<8x16xbf16>
    pipe.release %dr : tensor<?x16xbf16, #rows>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %h : !handle
    pipe.release %h2 : !handle
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R1: released by forward although backward takes it.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    // expected-error @below {{result 3 is released but also yielded [R1 linear-handle]}}
    pipe.release %h : !handle
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    // expected-note @below {{yielded here}}
    pipe.yield %z : tensor<8x16xbf16> kept %h : !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %h: !handle):
    %dr = moe.combine_input_grad %d, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
    %a = moe.add %d, %d : tensor<8x16xbf16>
    pipe.release %dr : tensor<?x16xbf16, #rows>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %h : !handle
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R1: backward forgets the handle that it was passed (a frozen layer whose
// backward never runs to the combine).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %z : tensor<8x16xbf16> kept %h : !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>,
       // expected-error @below {{argument 1 of type '!moe.handle<tokens = 8, top_k = 2, experts = 4>' leaks: it is neither released nor yielded [R1 linear-handle]}}
       %h: !handle):
    // expected-note @below {{used here}}
    %dr = moe.combine_input_grad %d, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
    %a = moe.add %d, %d : tensor<8x16xbf16>
    pipe.release %dr : tensor<?x16xbf16, #rows>
    pipe.release %d : tensor<8x16xbf16>
    // expected-note @below {{the region ends here}}
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// A stage without a backward keeps nothing (frozen prefix, torchtitan L6).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{keeps values but has no backward region}}
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %z : tensor<8x16xbf16> kept %h : !handle
  }
}

// -----

// R2: a replay cut short before its combine (torch.utils.checkpoint with early
// stop, torchtitan #1467, prime-rl): nobody ends the second handle.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %h : !handle
    pipe.release %y : tensor<8x16xbf16>
    pipe.yield %z : tensor<8x16xbf16> kept %x, %p, %e : tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-error@unknown {{result 3 of type '!moe.handle<tokens = 8, top_k = 2, experts = 4>' leaks: it is neither released nor yielded [R2 replay-handle]}}
    // expected-note@unknown {{made here}}
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle) loc("dispatch.replay")
    %a = moe.add %d, %d : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.release %d : tensor<8x16xbf16>
    // expected-note @below {{the region ends here}}
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R2: the replayed rows go back along the handle of another dispatch.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.yield %z : tensor<8x16xbf16> kept %x, %p, %e, %h : tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>, !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>, %h: !handle):
    // expected-note@unknown {{the dispatch that the rows come from}}
    %r, %q, %c, %own = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle) loc("dispatch.replay")
    // expected-error@unknown {{takes rows of one dispatch and the handle of another [R2 replay-handle]}}
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16> loc("combine.replay")
    %a = moe.add %d, %y : tensor<8x16xbf16>
    pipe.release %own : !handle
    pipe.release %h : !handle
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %y : tensor<8x16xbf16>
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R3: released under the combine that still reads it (DeepEP: buffers freed under a
// running all-to-all).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-note @below {{the exchange}}
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    // expected-error @below {{result 3 is released while an exchange may still use it [R3 last-use]}}
    pipe.release %h : !handle
    %a = moe.add %x, %x : tensor<8x16xbf16>
    // expected-note @below {{the first op that waits for it}}
    %z = moe.add %y, %a : tensor<8x16xbf16>
    pipe.release %a : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %z : tensor<8x16xbf16>
  }
}

// -----

// R3: used after its release.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    %a = moe.add %x, %x : tensor<8x16xbf16>
    // expected-note @below {{released here}}
    pipe.release %a : tensor<8x16xbf16>
    // expected-error @below {{uses result 0 after its release [R3 last-use]}}
    %z = moe.add %a, %x : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %z : tensor<8x16xbf16>
  }
}

// -----

// R4: kept for a backward that does not read it (the saving decision of a mode, not
// of the value).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-note @below {{made here}}
    %r, %q, %c, %h = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    // expected-error @below {{keeps result 3 of type '!moe.handle<tokens = 8, top_k = 2, experts = 4>', which no backward reads [R4 needed-only]}}
    pipe.yield %z : tensor<8x16xbf16> kept %h : !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %h: !handle):
    %a = moe.add %d, %d : tensor<8x16xbf16>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %h : !handle
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R5: an op of which nobody knows what it does.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    // expected-error @below {{does not declare what it does to memory, links and gradients [R5 declared-effects]}}
    %z = builtin.unrealized_conversion_cast %x : tensor<8x16xbf16> to tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %z : tensor<8x16xbf16>
  }
}

// -----

// R8: a replay adds the gradient of a weight again (prime-rl: tokens of experts counted
// twice under full recompute).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    %z = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    pipe.yield %z : tensor<8x16xbf16> kept %x : tensor<8x16xbf16>
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>):
    %a = moe.linear_input_grad %d, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    // expected-error@unknown {{adds to state, and a replay would add again [R8 applied-once]}}
    moe.linear_weight_grad %d, %x, @w : tensor<8x16xbf16>, tensor<8x16xbf16> loc("w.replay")
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R8: the same gradient twice.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    %z = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    pipe.yield %z : tensor<8x16xbf16> kept %x : tensor<8x16xbf16>
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>):
    %a = moe.linear_input_grad %d, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    // expected-note @below {{the first time}}
    moe.linear_weight_grad %d, %x, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    // expected-error @below {{adds what was added before [R8 applied-once]}}
    moe.linear_weight_grad %d, %x, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %a : tensor<8x16xbf16>
  }
}

// -----

// R6: a replay that chooses experts again: they need not be those of the handle.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%l: tensor<8x4xf32>):
    %p, %e = moe.route %l routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %p : tensor<8x2xf32> kept %l : tensor<8x4xf32>
  } backward {
  ^bb0(%d: tensor<8x2xf32>, %l: tensor<8x4xf32>):
    // expected-error@unknown {{takes a decision that a replay could take differently; its results have to be kept [R6 replayable]}}
    %p, %e = moe.route %l routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>) loc("route.replay")
    %dl = moe.route_input_grad %d, %p, %e routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
    pipe.release %d : tensor<8x2xf32>
    pipe.release %l : tensor<8x4xf32>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %dl : tensor<8x4xf32>
  }
}

// -----

// R7: more handles than dispatches in flight. One comes from elsewhere.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  // expected-note @below {{the stage}}
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %h: !handle):
    %y = moe.add %x, %x : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %y : tensor<8x16xbf16> kept %h : !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %h: !handle):
    %rows = moe.combine_input_grad %d, %h top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
    %a = moe.add %d, %d : tensor<8x16xbf16>
    pipe.release %rows : tensor<?x16xbf16, #rows>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %h : !handle
    pipe.yield %a : tensor<8x16xbf16>
  }
  pipe.rank 0 {
    pipe.load @s0 microbatch 0 "tokens"
    // expected-error @below {{leaves 1 handles live on its stage, with 1 microbatches in flight and 0 dispatches [R7 handle-capacity]}}
    pipe.run @s0 microbatch 0 forward
    pipe.run @s0 microbatch 0 backward
    pipe.reduce_gradients
    pipe.update
  }
}

// -----

// R1: the logits and their gradient are one storage (PithTrain #16: two names, two
// frees).

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["tokens", "labels"] outputs ["loss"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %t: tensor<8xi32>):
    %l = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    %loss, %z = moe.cross_entropy %l, %t grad_scale 0.125 : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %loss : tensor<1xf32> kept %l, %t, %z : tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>
  } backward {
  ^bb0(%l: tensor<8x16xbf16>, %t: tensor<8xi32>, %z: tensor<8xf32>):
    // expected-note @below {{overwritten here}}
    %d = moe.cross_entropy_input_grad %l, %t, %z scale 0.125 {moe.in_place} : (tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x16xbf16>
    pipe.release %t : tensor<8xi32>
    pipe.release %z : tensor<8xf32>
    // expected-error @below {{argument 0 is released but also overwritten; its bytes are released with the result [R1 linear-handle]}}
    pipe.release %l : tensor<8x16xbf16>
    pipe.release %d : tensor<8x16xbf16>
    pipe.yield
  }
}

// -----

// R1: two gradients in one storage.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["tokens", "labels"] outputs ["loss"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %t: tensor<8xi32>):
    %l = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    %loss, %z = moe.cross_entropy %l, %t grad_scale 0.125 : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %loss : tensor<1xf32> kept %l, %t, %z : tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>
  } backward {
  ^bb0(%l: tensor<8x16xbf16>, %t: tensor<8xi32>, %z: tensor<8xf32>):
    // expected-note @below {{the other op}}
    %d = moe.cross_entropy_input_grad %l, %t, %z scale 0.125 {moe.in_place} : (tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x16xbf16>
    // expected-error @below {{overwrites argument 0, which another op overwrites [R1 linear-handle]}}
    %d2 = moe.cross_entropy_input_grad %l, %t, %z scale 0.125 {moe.in_place} : (tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x16xbf16>
    pipe.release %t : tensor<8xi32>
    pipe.release %z : tensor<8xf32>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %d2 : tensor<8x16xbf16>
    pipe.yield
  }
}

// -----

// R3: the logits are read when their gradient lies there.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["tokens", "labels"] outputs ["loss"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %t: tensor<8xi32>):
    %l = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    %loss, %z = moe.cross_entropy %l, %t grad_scale 0.125 : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
    pipe.release %x : tensor<8x16xbf16>
    pipe.yield %loss : tensor<1xf32> kept %l, %t, %z : tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>
  } backward {
  ^bb0(%l: tensor<8x16xbf16>, %t: tensor<8xi32>, %z: tensor<8xf32>):
    // expected-note @below {{overwritten here}}
    %d = moe.cross_entropy_input_grad %l, %t, %z scale 0.125 {moe.in_place} : (tensor<8x16xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x16xbf16>
    // expected-error @below {{uses argument 0 after it was overwritten [R3 last-use]}}
    moe.linear_weight_grad %d, %l, @w : tensor<8x16xbf16>, tensor<8x16xbf16>
    pipe.release %t : tensor<8xi32>
    pipe.release %z : tensor<8xf32>
    pipe.release %d : tensor<8x16xbf16>
    pipe.yield
  }
}

// -----

// R1: what is sent to the stage before lies in the buffer of the send.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @up : tensor<16x8xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>):
    %h = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    %a = moe.swiglu %h activation <> : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
    %y = moe.linear %a, @up : (tensor<8x8xbf16>) -> tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %a : tensor<8x8xbf16>
    pipe.yield %y : tensor<8x16xbf16> kept %h : tensor<8x16xbf16>
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %h: tensor<8x16xbf16>):
    %da = moe.linear_input_grad %d, @up : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
    // expected-error @below {{overwrites argument 1, but the bytes belong to a transfer between stages [R1 linear-handle]}}
    %dh = moe.swiglu_input_grad %da, %h activation <> {moe.in_place} : (tensor<8x8xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %da : tensor<8x8xbf16>
    pipe.yield %dh : tensor<8x16xbf16>
  }
}

// -----

// R3: an exchange that nothing has waited for still reads the product.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
module attributes {pipe.layout = #layout} {
  moe.parameter @up : tensor<16x8xbf16> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden", "tokens", "labels"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>):
    %r, %q, %c, %k = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
    %y = moe.combine %r, %k top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
    %z = moe.add %y, %y : tensor<8x16xbf16>
    pipe.release %r : tensor<?x16xbf16, #rows>
    pipe.release %q : tensor<?xf32, #rows>
    pipe.release %c : tensor<2xi32>
    pipe.release %y : tensor<8x16xbf16>
    pipe.release %x : tensor<8x16xbf16>
    pipe.release %p : tensor<8x2xf32>
    pipe.release %e : tensor<8x2xi32>
    pipe.yield %z : tensor<8x16xbf16> kept %k : !handle
  } backward {
  ^bb0(%d: tensor<8x16xbf16>, %k: !handle):
    %h = moe.add %d, %d : tensor<8x16xbf16>
    %da = moe.linear_input_grad %d, @up : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
    // expected-note @below {{the exchange}}
    %rows = moe.combine_input_grad %h, %k top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
    // expected-error @below {{overwrites result 0, which an exchange may still use [R3 last-use]}}
    %dh = moe.swiglu_input_grad %da, %h activation <> {moe.in_place} : (tensor<8x8xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
    %s = moe.add %dh, %d : tensor<8x16xbf16>
    pipe.release %d : tensor<8x16xbf16>
    pipe.release %da : tensor<8x8xbf16>
    pipe.release %dh : tensor<8x16xbf16>
    pipe.release %rows : tensor<?x16xbf16, #rows>
    pipe.release %k : !handle
    // expected-note @below {{the first op that waits for it}}
    pipe.yield %s : tensor<8x16xbf16>
  }
}
