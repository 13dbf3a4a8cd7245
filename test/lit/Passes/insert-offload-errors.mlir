// RUN: split-file %s %t
// RUN: moe-opt %t/stage.mlir --pipe-insert-offload=targets=c --verify-diagnostics -o /dev/null
// RUN: not moe-opt %t/plain.mlir --pipe-insert-offload=targets=nothing 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: not moe-opt %t/plain.mlir --pipe-insert-offload=targets=layers.0.y 2>&1 | FileCheck %s --check-prefix=LEAVES
// RUN: not moe-opt %t/released.mlir --pipe-insert-offload=targets=a 2>&1 | FileCheck %s --check-prefix=RELEASED
// RUN: not moe-opt %t/plain.mlir --pipe-insert-offload="targets=a lead-layers=-1" 2>&1 | FileCheck %s --check-prefix=LEAD

// UNKNOWN: offload: 'nothing':
// LEAVES: 'pipe.stage' op offload: 'layers.0.y' cannot leave: it leaves the stage as well
// RELEASED: 'pipe.stage' op holds releases already; offload comes before pipe-place-releases
// LEAD: offload: a lead of -1 is behind the first use

//--- stage.mlir
// The last rank turns around at once: there is no time to be away.
module {
  moe.parameter @w : tensor<4x4xf32> dense #moe.initializer<normal, 0.02>
  // expected-remark @below {{offload: 1 value of stage s0 stays on the device: backward follows forward at once, and needs it before it would be back; the first is 'layers.0.c'}}
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<4x4xf32>):
    %c = moe.linear %x, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.c")
    %y = moe.linear %c, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.y")
    pipe.yield %y : tensor<4x4xf32> kept %c : tensor<4x4xf32>
  } backward {
  ^bb0(%d: tensor<4x4xf32>, %c: tensor<4x4xf32>):
    %dx = moe.add %d, %c : tensor<4x4xf32> loc("layers.0.y.input_grad")
    pipe.yield %dx : tensor<4x4xf32>
  }
  pipe.rank 0 {
    pipe.run @s0 microbatch 0 forward
    pipe.run @s0 microbatch 0 backward
    pipe.run @s0 microbatch 1 forward
    pipe.run @s0 microbatch 1 backward
  }
}

//--- plain.mlir
module {
  moe.parameter @w : tensor<4x4xf32> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<4x4xf32>):
    %a = moe.linear %x, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.a")
    %y = moe.linear %a, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.y")
    pipe.yield %y : tensor<4x4xf32> kept %a, %y : tensor<4x4xf32>, tensor<4x4xf32>
  } backward {
  ^bb0(%d: tensor<4x4xf32>, %a: tensor<4x4xf32>, %y: tensor<4x4xf32>):
    %dx = moe.add %a, %y : tensor<4x4xf32>
    pipe.yield %dx : tensor<4x4xf32>
  }
}

//--- released.mlir
module {
  moe.parameter @w : tensor<4x4xf32> dense #moe.initializer<normal, 0.02>
  pipe.stage @s0 rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
  ^bb0(%x: tensor<4x4xf32>):
    %a = moe.linear %x, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.a")
    pipe.release %x : tensor<4x4xf32>
    %y = moe.linear %a, @w : (tensor<4x4xf32>) -> tensor<4x4xf32> loc("layers.0.y")
    pipe.yield %y : tensor<4x4xf32> kept %a : tensor<4x4xf32>
  } backward {
  ^bb0(%d: tensor<4x4xf32>, %a: tensor<4x4xf32>):
    %dx = moe.add %d, %a : tensor<4x4xf32>
    pipe.yield %dx : tensor<4x4xf32>
  }
}
