// RUN: moe-opt %s --verify-roundtrip | FileCheck %s

// CHECK-LABEL: module attributes
// CHECK-SAME: pipe.layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #pipe.layout<pipeline_ranks = 2,
    expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1,
    microbatches = 1, microbatch_size = 2, sequence_length = 4>} {
  moe.parameter @w : tensor<4xbf16> dense #moe.initializer<ones>

  // CHECK: pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
  pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"]
      outputs ["hidden"] forward {
  ^bb0(%x: tensor<8x4xbf16>):
    %y, %inverse = moe.rms_norm %x, @w epsilon 1.0e-06
        : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<8x1xf32>)
    // CHECK: pipe.yield %{{.*}} : tensor<8x4xbf16> kept %{{.*}}, %{{.*}} : tensor<8x4xbf16>, tensor<8x1xf32>
    pipe.yield %y : tensor<8x4xbf16>
        kept %x, %inverse : tensor<8x4xbf16>, tensor<8x1xf32>
  // CHECK: } backward {
  } backward {
  ^bb0(%dy: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>):
    moe.rms_norm_weight_grad %dy, %x, %inverse, @w
        : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
    %dx = moe.rms_norm_input_grad %dy, %x, %inverse, @w
        : (tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>)
          -> tensor<8x4xbf16>
    pipe.yield %dx : tensor<8x4xbf16>
  // CHECK: } backward_input {
  } backward_input {
  ^bb0(%dy: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>):
    %dx = moe.rms_norm_input_grad %dy, %x, %inverse, @w
        : (tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>)
          -> tensor<8x4xbf16>
    pipe.yield %dx : tensor<8x4xbf16> kept %dy, %x, %inverse
        : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
  // CHECK: } weight_grad {
  } weight_grad {
  ^bb0(%dy: tensor<8x4xbf16>, %x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>):
    moe.rms_norm_weight_grad %dy, %x, %inverse, @w
        : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
    // CHECK: pipe.release %{{.*}} : tensor<8x4xbf16>
    pipe.release %dy : tensor<8x4xbf16>
    pipe.release %x : tensor<8x4xbf16>
    pipe.release %inverse : tensor<8x1xf32>
    pipe.yield
  }

  // CHECK: pipe.interleaving @i0(@s0 forward, @s0 backward){{$}}
  pipe.interleaving @i0 (@s0 forward, @s0 backward)
  // CHECK: pipe.interleaving @i1(@s0 forward, @s0 backward_input) order [1, 0]{{$}}
  pipe.interleaving @i1 (@s0 forward, @s0 backward_input) order [1, 0]

  // CHECK: pipe.rank 0 {
  pipe.rank 0 {
    // CHECK-NEXT: pipe.load @s0 microbatch 0 "tokens"
    pipe.load @s0 microbatch 0 "tokens"
    // CHECK-NEXT: pipe.receive @s0 microbatch 0 forward from 1
    pipe.receive @s0 microbatch 0 forward from 1
    // CHECK-NEXT: pipe.run @s0 microbatch 0 forward
    pipe.run @s0 microbatch 0 forward
    // CHECK-NEXT: pipe.run @s0 microbatch 0 backward_input
    pipe.run @s0 microbatch 0 backward_input
    // CHECK-NEXT: pipe.run @s0 microbatch 0 weight_grad
    pipe.run @s0 microbatch 0 weight_grad
    // CHECK-NEXT: pipe.overlap @i0 microbatches 4, 1
    pipe.overlap @i0 microbatches 4, 1
    // CHECK-NEXT: pipe.send @s0 microbatch 0 forward to 1
    pipe.send @s0 microbatch 0 forward to 1
    // CHECK-NEXT: pipe.wait_send @s0 microbatch 0 forward to 1
    pipe.wait_send @s0 microbatch 0 forward to 1
    // CHECK-NEXT: pipe.collect_loss @s0 microbatch 0
    pipe.collect_loss @s0 microbatch 0
    // CHECK-NEXT: pipe.reduce_gradients
    pipe.reduce_gradients
    // CHECK-NEXT: pipe.update
    pipe.update
  }
}
