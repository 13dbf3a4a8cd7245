// RUN: moe-opt %s --pipe-build-schedule=kind=gpipe --split-input-file --verify-roundtrip | FileCheck %s --check-prefix=GPIPE
// RUN: moe-opt %s --pipe-build-schedule=kind=1f1b --split-input-file --verify-roundtrip | FileCheck %s --check-prefix=ONE
// RUN: moe-opt %s --pipe-build-schedule --split-input-file | FileCheck %s --check-prefix=ONE

// A stage's send buffer is waited for before the next run fills it, and the last
// ones behind the last run. The first stage loads tokens, the last labels.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 2, microbatch_size = 1, sequence_length = 4>

// GPIPE-LABEL: module @two
// GPIPE: pipe.rank 0 {
// GPIPE-NEXT: pipe.load @s0 microbatch 0 "tokens"
// GPIPE-NEXT: pipe.run @s0 microbatch 0 forward
// GPIPE-NEXT: pipe.send @s0 microbatch 0 forward to 1
// GPIPE-NEXT: pipe.load @s0 microbatch 1 "tokens"
// GPIPE-NEXT: pipe.receive @s0 microbatch 0 backward from 1
// GPIPE-NEXT: pipe.wait_send @s0 microbatch 0 forward to 1
// GPIPE-NEXT: pipe.run @s0 microbatch 1 forward
// GPIPE-NEXT: pipe.send @s0 microbatch 1 forward to 1
// GPIPE-NEXT: pipe.run @s0 microbatch 0 backward
// GPIPE-NEXT: pipe.receive @s0 microbatch 1 backward from 1
// GPIPE-NEXT: pipe.run @s0 microbatch 1 backward
// GPIPE-NEXT: pipe.wait_send @s0 microbatch 1 forward to 1
// GPIPE-NEXT: pipe.reduce_gradients
// GPIPE-NEXT: pipe.update
// GPIPE-NEXT: }
// GPIPE-NEXT: pipe.rank 1 {
// GPIPE-NEXT: pipe.receive @s1 microbatch 0 forward from 0
// GPIPE-NEXT: pipe.load @s1 microbatch 0 "labels"
// GPIPE-NEXT: pipe.run @s1 microbatch 0 forward
// GPIPE-NEXT: pipe.collect_loss @s1 microbatch 0
// GPIPE-NEXT: pipe.receive @s1 microbatch 1 forward from 0
// GPIPE-NEXT: pipe.load @s1 microbatch 1 "labels"
// GPIPE-NEXT: pipe.run @s1 microbatch 1 forward
// GPIPE-NEXT: pipe.collect_loss @s1 microbatch 1
// GPIPE-NEXT: pipe.run @s1 microbatch 0 backward
// GPIPE-NEXT: pipe.send @s1 microbatch 0 backward to 0
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 0 backward to 0
// GPIPE-NEXT: pipe.run @s1 microbatch 1 backward
// GPIPE-NEXT: pipe.send @s1 microbatch 1 backward to 0
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 1 backward to 0
// GPIPE-NEXT: pipe.reduce_gradients
// GPIPE-NEXT: pipe.update
// GPIPE-NEXT: }

// ONE-LABEL: module @two
// ONE: pipe.rank 0 {
// ONE-NEXT: pipe.load @s0 microbatch 0 "tokens"
// ONE-NEXT: pipe.run @s0 microbatch 0 forward
// ONE-NEXT: pipe.send @s0 microbatch 0 forward to 1
// ONE-NEXT: pipe.load @s0 microbatch 1 "tokens"
// ONE-NEXT: pipe.receive @s0 microbatch 0 backward from 1
// ONE-NEXT: pipe.wait_send @s0 microbatch 0 forward to 1
// ONE-NEXT: pipe.run @s0 microbatch 1 forward
// ONE-NEXT: pipe.send @s0 microbatch 1 forward to 1
// ONE-NEXT: pipe.run @s0 microbatch 0 backward
// ONE-NEXT: pipe.receive @s0 microbatch 1 backward from 1
// ONE-NEXT: pipe.run @s0 microbatch 1 backward
// ONE-NEXT: pipe.wait_send @s0 microbatch 1 forward to 1
// ONE-NEXT: pipe.reduce_gradients
// ONE-NEXT: pipe.update
// ONE-NEXT: }
// ONE-NEXT: pipe.rank 1 {
// ONE-NEXT: pipe.receive @s1 microbatch 0 forward from 0
// ONE-NEXT: pipe.load @s1 microbatch 0 "labels"
// ONE-NEXT: pipe.run @s1 microbatch 0 forward
// ONE-NEXT: pipe.collect_loss @s1 microbatch 0
// ONE-NEXT: pipe.run @s1 microbatch 0 backward
// ONE-NEXT: pipe.send @s1 microbatch 0 backward to 0
// ONE-NEXT: pipe.receive @s1 microbatch 1 forward from 0
// ONE-NEXT: pipe.load @s1 microbatch 1 "labels"
// ONE-NEXT: pipe.run @s1 microbatch 1 forward
// ONE-NEXT: pipe.collect_loss @s1 microbatch 1
// ONE-NEXT: pipe.wait_send @s1 microbatch 0 backward to 0
// ONE-NEXT: pipe.run @s1 microbatch 1 backward
// ONE-NEXT: pipe.send @s1 microbatch 1 backward to 0
// ONE-NEXT: pipe.wait_send @s1 microbatch 1 backward to 0
// ONE-NEXT: pipe.reduce_gradients
// ONE-NEXT: pipe.update
// ONE-NEXT: }

module @two attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 3, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 3, microbatch_size = 1, sequence_length = 4>

// GPIPE-LABEL: module @three
// GPIPE: pipe.rank 0 {
// GPIPE-NEXT: pipe.load @s0 microbatch 0 "tokens"
// GPIPE-NEXT: pipe.run @s0 microbatch 0 forward
// GPIPE-NEXT: pipe.send @s0 microbatch 0 forward to 1
// GPIPE-NEXT: pipe.load @s0 microbatch 1 "tokens"
// GPIPE-NEXT: pipe.wait_send @s0 microbatch 0 forward to 1
// GPIPE-NEXT: pipe.run @s0 microbatch 1 forward
// GPIPE-NEXT: pipe.send @s0 microbatch 1 forward to 1
// GPIPE-NEXT: pipe.load @s0 microbatch 2 "tokens"
// GPIPE-NEXT: pipe.receive @s0 microbatch 0 backward from 1
// GPIPE-NEXT: pipe.wait_send @s0 microbatch 1 forward to 1
// GPIPE-NEXT: pipe.run @s0 microbatch 2 forward
// GPIPE-NEXT: pipe.send @s0 microbatch 2 forward to 1
// GPIPE-NEXT: pipe.run @s0 microbatch 0 backward
// GPIPE-NEXT: pipe.receive @s0 microbatch 1 backward from 1
// GPIPE-NEXT: pipe.run @s0 microbatch 1 backward
// GPIPE-NEXT: pipe.receive @s0 microbatch 2 backward from 1
// GPIPE-NEXT: pipe.run @s0 microbatch 2 backward
// GPIPE-NEXT: pipe.wait_send @s0 microbatch 2 forward to 1
// GPIPE-NEXT: pipe.reduce_gradients
// GPIPE-NEXT: pipe.update
// GPIPE-NEXT: }
// GPIPE-NEXT: pipe.rank 1 {
// GPIPE-NEXT: pipe.receive @s1 microbatch 0 forward from 0
// GPIPE-NEXT: pipe.run @s1 microbatch 0 forward
// GPIPE-NEXT: pipe.send @s1 microbatch 0 forward to 2
// GPIPE-NEXT: pipe.receive @s1 microbatch 1 forward from 0
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 0 forward to 2
// GPIPE-NEXT: pipe.run @s1 microbatch 1 forward
// GPIPE-NEXT: pipe.send @s1 microbatch 1 forward to 2
// GPIPE-NEXT: pipe.receive @s1 microbatch 2 forward from 0
// GPIPE-NEXT: pipe.receive @s1 microbatch 0 backward from 2
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 1 forward to 2
// GPIPE-NEXT: pipe.run @s1 microbatch 2 forward
// GPIPE-NEXT: pipe.send @s1 microbatch 2 forward to 2
// GPIPE-NEXT: pipe.run @s1 microbatch 0 backward
// GPIPE-NEXT: pipe.send @s1 microbatch 0 backward to 0
// GPIPE-NEXT: pipe.receive @s1 microbatch 1 backward from 2
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 0 backward to 0
// GPIPE-NEXT: pipe.run @s1 microbatch 1 backward
// GPIPE-NEXT: pipe.send @s1 microbatch 1 backward to 0
// GPIPE-NEXT: pipe.receive @s1 microbatch 2 backward from 2
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 1 backward to 0
// GPIPE-NEXT: pipe.run @s1 microbatch 2 backward
// GPIPE-NEXT: pipe.send @s1 microbatch 2 backward to 0
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 2 forward to 2
// GPIPE-NEXT: pipe.wait_send @s1 microbatch 2 backward to 0
// GPIPE-NEXT: pipe.reduce_gradients
// GPIPE-NEXT: pipe.update
// GPIPE-NEXT: }
// GPIPE-NEXT: pipe.rank 2 {
// GPIPE-NEXT: pipe.receive @s2 microbatch 0 forward from 1
// GPIPE-NEXT: pipe.load @s2 microbatch 0 "labels"
// GPIPE-NEXT: pipe.run @s2 microbatch 0 forward
// GPIPE-NEXT: pipe.collect_loss @s2 microbatch 0
// GPIPE-NEXT: pipe.receive @s2 microbatch 1 forward from 1
// GPIPE-NEXT: pipe.load @s2 microbatch 1 "labels"
// GPIPE-NEXT: pipe.run @s2 microbatch 1 forward
// GPIPE-NEXT: pipe.collect_loss @s2 microbatch 1
// GPIPE-NEXT: pipe.receive @s2 microbatch 2 forward from 1
// GPIPE-NEXT: pipe.load @s2 microbatch 2 "labels"
// GPIPE-NEXT: pipe.run @s2 microbatch 2 forward
// GPIPE-NEXT: pipe.collect_loss @s2 microbatch 2
// GPIPE-NEXT: pipe.run @s2 microbatch 0 backward
// GPIPE-NEXT: pipe.send @s2 microbatch 0 backward to 1
// GPIPE-NEXT: pipe.wait_send @s2 microbatch 0 backward to 1
// GPIPE-NEXT: pipe.run @s2 microbatch 1 backward
// GPIPE-NEXT: pipe.send @s2 microbatch 1 backward to 1
// GPIPE-NEXT: pipe.wait_send @s2 microbatch 1 backward to 1
// GPIPE-NEXT: pipe.run @s2 microbatch 2 backward
// GPIPE-NEXT: pipe.send @s2 microbatch 2 backward to 1
// GPIPE-NEXT: pipe.wait_send @s2 microbatch 2 backward to 1
// GPIPE-NEXT: pipe.reduce_gradients
// GPIPE-NEXT: pipe.update
// GPIPE-NEXT: }

// ONE-LABEL: module @three
// ONE: pipe.rank 0 {
// ONE-NEXT: pipe.load @s0 microbatch 0 "tokens"
// ONE-NEXT: pipe.run @s0 microbatch 0 forward
// ONE-NEXT: pipe.send @s0 microbatch 0 forward to 1
// ONE-NEXT: pipe.load @s0 microbatch 1 "tokens"
// ONE-NEXT: pipe.wait_send @s0 microbatch 0 forward to 1
// ONE-NEXT: pipe.run @s0 microbatch 1 forward
// ONE-NEXT: pipe.send @s0 microbatch 1 forward to 1
// ONE-NEXT: pipe.load @s0 microbatch 2 "tokens"
// ONE-NEXT: pipe.receive @s0 microbatch 0 backward from 1
// ONE-NEXT: pipe.wait_send @s0 microbatch 1 forward to 1
// ONE-NEXT: pipe.run @s0 microbatch 2 forward
// ONE-NEXT: pipe.send @s0 microbatch 2 forward to 1
// ONE-NEXT: pipe.run @s0 microbatch 0 backward
// ONE-NEXT: pipe.receive @s0 microbatch 1 backward from 1
// ONE-NEXT: pipe.run @s0 microbatch 1 backward
// ONE-NEXT: pipe.receive @s0 microbatch 2 backward from 1
// ONE-NEXT: pipe.run @s0 microbatch 2 backward
// ONE-NEXT: pipe.wait_send @s0 microbatch 2 forward to 1
// ONE-NEXT: pipe.reduce_gradients
// ONE-NEXT: pipe.update
// ONE-NEXT: }
// ONE-NEXT: pipe.rank 1 {
// ONE-NEXT: pipe.receive @s1 microbatch 0 forward from 0
// ONE-NEXT: pipe.run @s1 microbatch 0 forward
// ONE-NEXT: pipe.send @s1 microbatch 0 forward to 2
// ONE-NEXT: pipe.receive @s1 microbatch 1 forward from 0
// ONE-NEXT: pipe.receive @s1 microbatch 0 backward from 2
// ONE-NEXT: pipe.wait_send @s1 microbatch 0 forward to 2
// ONE-NEXT: pipe.run @s1 microbatch 1 forward
// ONE-NEXT: pipe.send @s1 microbatch 1 forward to 2
// ONE-NEXT: pipe.run @s1 microbatch 0 backward
// ONE-NEXT: pipe.send @s1 microbatch 0 backward to 0
// ONE-NEXT: pipe.receive @s1 microbatch 2 forward from 0
// ONE-NEXT: pipe.receive @s1 microbatch 1 backward from 2
// ONE-NEXT: pipe.wait_send @s1 microbatch 1 forward to 2
// ONE-NEXT: pipe.run @s1 microbatch 2 forward
// ONE-NEXT: pipe.send @s1 microbatch 2 forward to 2
// ONE-NEXT: pipe.wait_send @s1 microbatch 0 backward to 0
// ONE-NEXT: pipe.run @s1 microbatch 1 backward
// ONE-NEXT: pipe.send @s1 microbatch 1 backward to 0
// ONE-NEXT: pipe.receive @s1 microbatch 2 backward from 2
// ONE-NEXT: pipe.wait_send @s1 microbatch 1 backward to 0
// ONE-NEXT: pipe.run @s1 microbatch 2 backward
// ONE-NEXT: pipe.send @s1 microbatch 2 backward to 0
// ONE-NEXT: pipe.wait_send @s1 microbatch 2 forward to 2
// ONE-NEXT: pipe.wait_send @s1 microbatch 2 backward to 0
// ONE-NEXT: pipe.reduce_gradients
// ONE-NEXT: pipe.update
// ONE-NEXT: }
// ONE-NEXT: pipe.rank 2 {
// ONE-NEXT: pipe.receive @s2 microbatch 0 forward from 1
// ONE-NEXT: pipe.load @s2 microbatch 0 "labels"
// ONE-NEXT: pipe.run @s2 microbatch 0 forward
// ONE-NEXT: pipe.collect_loss @s2 microbatch 0
// ONE-NEXT: pipe.run @s2 microbatch 0 backward
// ONE-NEXT: pipe.send @s2 microbatch 0 backward to 1
// ONE-NEXT: pipe.receive @s2 microbatch 1 forward from 1
// ONE-NEXT: pipe.load @s2 microbatch 1 "labels"
// ONE-NEXT: pipe.run @s2 microbatch 1 forward
// ONE-NEXT: pipe.collect_loss @s2 microbatch 1
// ONE-NEXT: pipe.wait_send @s2 microbatch 0 backward to 1
// ONE-NEXT: pipe.run @s2 microbatch 1 backward
// ONE-NEXT: pipe.send @s2 microbatch 1 backward to 1
// ONE-NEXT: pipe.receive @s2 microbatch 2 forward from 1
// ONE-NEXT: pipe.load @s2 microbatch 2 "labels"
// ONE-NEXT: pipe.run @s2 microbatch 2 forward
// ONE-NEXT: pipe.collect_loss @s2 microbatch 2
// ONE-NEXT: pipe.wait_send @s2 microbatch 1 backward to 1
// ONE-NEXT: pipe.run @s2 microbatch 2 backward
// ONE-NEXT: pipe.send @s2 microbatch 2 backward to 1
// ONE-NEXT: pipe.wait_send @s2 microbatch 2 backward to 1
// ONE-NEXT: pipe.reduce_gradients
// ONE-NEXT: pipe.update
// ONE-NEXT: }

module @three attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
  pipe.stage @s2 rank 2 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
}

// -----

// One rank has nobody to talk to.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 4>

// GPIPE-LABEL: module @one
// GPIPE: pipe.rank 0 {
// GPIPE-NEXT: pipe.load @s0 microbatch 0 "tokens"
// GPIPE-NEXT: pipe.load @s0 microbatch 0 "labels"
// GPIPE-NEXT: pipe.run @s0 microbatch 0 forward
// GPIPE-NEXT: pipe.collect_loss @s0 microbatch 0
// GPIPE-NEXT: pipe.run @s0 microbatch 0 backward
// GPIPE-NEXT: pipe.reduce_gradients
// GPIPE-NEXT: pipe.update
// GPIPE-NEXT: }

// ONE-LABEL: module @one
// ONE: pipe.rank 0 {
// ONE-NEXT: pipe.load @s0 microbatch 0 "tokens"
// ONE-NEXT: pipe.load @s0 microbatch 0 "labels"
// ONE-NEXT: pipe.run @s0 microbatch 0 forward
// ONE-NEXT: pipe.collect_loss @s0 microbatch 0
// ONE-NEXT: pipe.run @s0 microbatch 0 backward
// ONE-NEXT: pipe.reduce_gradients
// ONE-NEXT: pipe.update
// ONE-NEXT: }

module @one attributes {pipe.layout = #layout} {
  pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield } backward { pipe.yield }
}
