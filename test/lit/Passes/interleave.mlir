// RUN: moe-opt %s --pass-pipeline='builtin.module(pipe-partition-stages{stages-per-rank=2 placement=v},pipe-build-schedule{kind=dualpipe-v})' --verify-roundtrip | FileCheck %s --check-prefix=BUILT
// RUN: moe-opt %s --pass-pipeline='builtin.module(pipe-partition-stages{stages-per-rank=2 placement=v},pipe-build-schedule{kind=dualpipe-v},pipe-fuse-weight-gradients,pipe.stage(pipe-place-releases),pipe-interleave,pipe-verify-plan)' --verify-roundtrip | FileCheck %s --check-prefix=ORDERED
// RUN: not moe-opt %s --pass-pipeline='builtin.module(pipe-partition-stages{stages-per-rank=2 placement=v},pipe-build-schedule{kind=dualpipe-v},pipe-interleave)' 2>&1 | FileCheck %s --check-prefix=EARLY
// RUN: not moe-opt %s --pass-pipeline='builtin.module(pipe-partition-stages{stages-per-rank=2 placement=v},pipe-build-schedule{kind=dualpipe-v},pipe-interleave{machine=abacus})' 2>&1 | FileCheck %s --check-prefix=MACHINE

// EARLY: error: 'pipe.interleaving' op names the backward region of @s3, which is empty; run pipe-fuse-weight-gradients first
// MACHINE: error: unknown machine 'abacus'; known:

// One interleaving for each pair of regions that some step overlaps; the order
// has as many entries as the forward has ops, and the backward.

// BUILT: pipe.schedule = "dualpipe-v"
// BUILT: pipe.interleaving @i0(@s0 forward, @s3 backward){{$}}
// BUILT: pipe.interleaving @i1(@s3 forward, @s0 backward){{$}}
// BUILT: pipe.interleaving @i2(@s2 forward, @s1 backward){{$}}
// BUILT: pipe.interleaving @i3(@s1 forward, @s2 backward){{$}}
// BUILT: pipe.rank 0 {
// BUILT: pipe.run @s3 microbatch 0 backward_input
// BUILT: pipe.run @s3 microbatch 0 weight_grad
// BUILT: pipe.overlap @i0 microbatches

// ORDERED: pipe.interleaving @i0(@s0 forward, @s3 backward) order [{{[01], [01], [01]}}]
// ORDERED: pipe.interleaving @i1(@s3 forward, @s0 backward) order [{{[01], [01], [01]}}]

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 4, microbatch_size = 2, sequence_length = 4>
module @overlap attributes {pipe.layout = #layout} {
  moe.parameter @w0 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w1 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w2 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
  moe.parameter @w3 : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
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
}
