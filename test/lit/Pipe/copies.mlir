// RUN: moe-opt %s --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --pass-pipeline='builtin.module(pipe.stage(pipe-place-releases))' | FileCheck %s --check-prefix=RELEASE

moe.parameter @w : tensor<4xbf16> dense #moe.initializer<ones>

#rows = #moe.rows<balanced = 16, capacity = 20>

// A copy gives back what it reads, and what it was issued for, behind itself:
// nothing on another stream has to wait for it.

// CHECK-LABEL: pipe.stage @s0
// CHECK: ^bb0(%[[X:.*]]: tensor<8x4xbf16>):
// CHECK-NEXT: %[[Y:.*]], %[[INVERSE:.*]] = moe.rms_norm %[[X]], @w
// CHECK-NEXT: %[[HOST:.*]] = pipe.offload %[[X]] : tensor<8x4xbf16>
// CHECK-NEXT: pipe.yield %[[Y]] : tensor<8x4xbf16> kept %[[HOST]], %[[INVERSE]] : !pipe.host<tensor<8x4xbf16>>, tensor<8x1xf32>
// CHECK-NEXT: } backward {
// CHECK-NEXT: ^bb0(%[[DY:.*]]: tensor<8x4xbf16>, %[[HOST:.*]]: !pipe.host<tensor<8x4xbf16>>, %[[INVERSE:.*]]: tensor<8x1xf32>):
// CHECK-NEXT: %[[X:.*]] = pipe.reload %[[HOST]] : !pipe.host<tensor<8x4xbf16>>
// CHECK-NEXT: moe.rms_norm_weight_grad %[[DY]], %[[X]], %[[INVERSE]], @w

// RELEASE-LABEL: pipe.stage @s0
// RELEASE: %[[HOST:.*]] = pipe.offload %[[X:.*]] : tensor<8x4xbf16>
// RELEASE-NEXT: pipe.release %[[X]] : tensor<8x4xbf16>
// RELEASE-NEXT: pipe.yield
// RELEASE: %[[X:.*]] = pipe.reload %[[HOST:.*]] : !pipe.host<tensor<8x4xbf16>>
// RELEASE-NEXT: pipe.release %[[HOST]] : !pipe.host<tensor<8x4xbf16>>
// RELEASE-NEXT: moe.rms_norm_weight_grad
// RELEASE-NEXT: moe.rms_norm_input_grad
// RELEASE-NEXT: pipe.release
pipe.stage @s0 rank 0 blocks ["layers.0"] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %y, %inverse = moe.rms_norm %x, @w epsilon 1.0e-06
      : (tensor<8x4xbf16>) -> (tensor<8x4xbf16>, tensor<8x1xf32>)
  %host = pipe.offload %x : tensor<8x4xbf16>
  pipe.yield %y : tensor<8x4xbf16>
      kept %host, %inverse : !pipe.host<tensor<8x4xbf16>>, tensor<8x1xf32>
} backward {
^bb0(%dy: tensor<8x4xbf16>, %host: !pipe.host<tensor<8x4xbf16>>, %inverse: tensor<8x1xf32>):
  %x = pipe.reload %host : !pipe.host<tensor<8x4xbf16>>
  moe.rms_norm_weight_grad %dy, %x, %inverse, @w
      : tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>
  %dx = moe.rms_norm_input_grad %dy, %x, %inverse, @w
      : (tensor<8x4xbf16>, tensor<8x4xbf16>, tensor<8x1xf32>)
        -> tensor<8x4xbf16>
  pipe.yield %dx : tensor<8x4xbf16>
}

// Rows behind a dispatch and handles can go to the host, too.

// CHECK-LABEL: pipe.stage @rows
// CHECK: pipe.offload %{{.*}} : tensor<?x4xbf16, #rows>
// CHECK: pipe.offload %{{.*}} : !moe.handle<tokens = 8, top_k = 2, experts = 4>
pipe.stage @rows rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %logits = moe.linear %x, @router : (tensor<8x4xbf16>) -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x4xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
        -> (tensor<?x4xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !moe.handle<tokens = 8, top_k = 2, experts = 4>)
  %a = pipe.offload %rows : tensor<?x4xbf16, #rows>
  %b = pipe.offload %handle : !moe.handle<tokens = 8, top_k = 2, experts = 4>
  pipe.yield %x : tensor<8x4xbf16>
}
moe.parameter @router : tensor<4x4xbf16> dense #moe.initializer<normal, 0.02>
