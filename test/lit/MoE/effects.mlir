// RUN: moe-opt %s --cse --canonicalize | FileCheck %s

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// Every rank must issue the same exchanges: neither is one of two equal ones
// removed, nor one whose results nobody uses.
// CHECK-LABEL: func @exchanges_stay
func.func @exchanges_stay(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>) {
  // CHECK: moe.dispatch
  // CHECK: moe.dispatch
  // CHECK: moe.combine
  // CHECK: moe.combine_input_grad
  // CHECK: moe.dispatch_input_grad
  %a, %ap, %ac, %ah = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %b, %bp, %bc, %bh = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %unused0 = moe.combine %a, %ah top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  %unused1 = moe.combine_input_grad %x, %ah top_k 2 experts 4 ranks 2 capacity 20 : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  %unused2, %unused3 = moe.dispatch_input_grad %a, %ap, %ah top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, !handle) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
  return %a, %b : tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>
}

// Adding the same gradient twice is not adding it once.
// CHECK-LABEL: func @weight_gradients_stay
func.func @weight_gradients_stay(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %i: tensor<8x1xf32>) {
  // CHECK-COUNT-2: moe.rms_norm_weight_grad
  moe.rms_norm_weight_grad %d, %x, %i, @norm : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  moe.rms_norm_weight_grad %d, %x, %i, @norm : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  return
}

// Kernels without effects are merged and removed like any arithmetic.
// CHECK-LABEL: func @kernels_go
func.func @kernels_go(%x: tensor<8x16xbf16>) -> tensor<8x16xbf16> {
  // CHECK-COUNT-1: moe.rms_norm
  // CHECK-NOT: moe.rms_norm
  // CHECK-NOT: moe.swiglu
  %a, %ai = moe.rms_norm %x, @norm epsilon 1.0e-6 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  %b, %bi = moe.rms_norm %x, @norm epsilon 1.0e-6 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  %s = moe.swiglu %x activation <> : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
  // CHECK: moe.add %[[A:.*]], %[[A]]
  %c = moe.add %a, %b : tensor<8x16xbf16>
  return %c : tensor<8x16xbf16>
}
