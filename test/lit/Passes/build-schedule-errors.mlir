// RUN: moe-opt %s --pipe-build-schedule --split-input-file --verify-diagnostics
// RUN: not moe-opt %S/build-schedule.mlir --pipe-build-schedule=kind=zigzag --split-input-file 2>&1 | FileCheck %s

// CHECK: error: unknown schedule 'zigzag'; known: gpipe, 1f1b, 

// expected-error @below {{needs the attribute 'pipe.layout' (#pipe.layout<...>)}}
module {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 4>
// expected-error @below {{holds a schedule already}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.rank 0 { pipe.update }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 4>
// expected-error @below {{has 0 stages for 2 pipeline ranks; every rank needs the same number (pipe-partition-stages)}}
module attributes {pipe.layout = #layout} {}

// -----

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 4>
// expected-error @below {{has 3 stages for 2 pipeline ranks; every rank needs the same number (pipe-partition-stages)}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s2 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
}

// -----

// Several stages a rank need another schedule.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 4>
// expected-error @below {{schedule 1f1b needs one stage per rank, asked for 2}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s2 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s3 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
}

// -----

// Stages that lie nowhere a schedule knows.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 4>
// expected-error @below {{the ranks of the stages fit no placement (loop, v or bidirectional)}}
module attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
  pipe.stage @s2 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
  // expected-note @below {{with placement v, stage number 4 lies on rank 0, not on rank 1}}
  pipe.stage @s3 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
}
