// RUN: moe-opt %s --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --emit-bytecode | moe-opt | FileCheck %s

moe.parameter @table : tensor<64x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @head_norm : tensor<16xbf16> dense #moe.initializer<ones>
moe.parameter @q : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @q_bias : tensor<32xbf16> dense #moe.initializer<zeros>
moe.parameter @sinks : tensor<2xbf16> dense #moe.initializer<zeros>
moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @correction : tensor<4xf32> dense #moe.initializer<zeros> {trainable = false, decay = false}
moe.parameter @gate_up : tensor<2x16x16xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @down : tensor<2x16x8xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @down_bias : tensor<2x16xbf16> expert #moe.initializer<zeros>

// CHECK-LABEL: func @embedding
func.func @embedding(%tokens: tensor<8xi32>) -> tensor<8x16xbf16> {
  // CHECK: moe.embedding %{{.*}}, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
  %x = moe.embedding %tokens, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
  return %x : tensor<8x16xbf16>
}

// CHECK-LABEL: func @norms
func.func @norms(%x: tensor<8x32xbf16>, %y: tensor<8x16xbf16>) -> (tensor<8x1xf32>, tensor<8x2xf32>) {
  // CHECK: moe.rms_norm %{{.*}}, @norm epsilon 1.0e-06 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  %a, %i = moe.rms_norm %y, @norm epsilon 1.0e-6 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  // CHECK: moe.rms_norm %{{.*}}, @head_norm epsilon {{.*}} groups 2
  %b, %j = moe.rms_norm %x, @head_norm epsilon 1.0e-6 groups 2 : (tensor<8x32xbf16>) -> (tensor<8x32xbf16>, tensor<8x2xf32>)
  return %i, %j : tensor<8x1xf32>, tensor<8x2xf32>
}

// CHECK-LABEL: func @linears
func.func @linears(%x: tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<8x4xf32>) {
  // CHECK: moe.linear %{{.*}}, @q bias @q_bias : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
  %q = moe.linear %x, @q bias @q_bias : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
  // CHECK: moe.linear %{{.*}}, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  %l = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  return %q, %l : tensor<8x32xbf16>, tensor<8x4xf32>
}

// CHECK-LABEL: func @rotations
func.func @rotations(%q: tensor<8x32xbf16>, %nope: tensor<8x16xbf16>, %pe: tensor<8x4xbf16>) -> (tensor<8x32xbf16>, tensor<8x24xbf16>) {
  // CHECK: moe.rope %{{.*}} heads 2 sequence 4 rotary <dim = 16, interleaved = true, theta = 1000000.0> : tensor<8x32xbf16>
  %r = moe.rope %q heads 2 sequence 4 rotary <dim = 16, interleaved = true, theta = 1000000.0> : tensor<8x32xbf16>
  // CHECK: moe.mla_key %{{.*}}, %{{.*}} heads 2 sequence 4 rotary <dim = 4> : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x24xbf16>
  %k = moe.mla_key %nope, %pe heads 2 sequence 4 rotary <dim = 4> : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x24xbf16>
  return %r, %k : tensor<8x32xbf16>, tensor<8x24xbf16>
}

// CHECK-LABEL: func @attention
func.func @attention(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) -> tensor<8x32xbf16> {
  // CHECK: moe.attention %{{.*}}, %{{.*}}, %{{.*}} heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 :
  // CHECK-SAME: -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  %o, %l = moe.attention %q, %k, %v heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  // CHECK: moe.attention {{.*}} sinks @sinks heads 2 {{.*}} window 3
  %p, %m = moe.attention %q, %k, %v sinks @sinks heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 window 3
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  // CHECK: moe.add %{{.*}}, %{{.*}} : tensor<8x32xbf16>
  %s = moe.add %o, %p : tensor<8x32xbf16>
  return %s : tensor<8x32xbf16>
}

// Which scores a route yields follows from its routing.
// CHECK-LABEL: func @routes
func.func @routes(%logits: tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x2xf32>) {
  // CHECK: moe.route %{{.*}} routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  // CHECK: moe.route %{{.*}} routing <top_k = 2, scoring = softmax> : {{.*}} -> (tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x4xf32>)
  %p1, %e1, %s1 = moe.route %logits routing <top_k = 2, scoring = softmax>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x4xf32>)
  // CHECK: moe.route %{{.*}} correction @correction routing <top_k = 2, scoring = sigmoid, normalize = true, groups = 2, group_score = top2_sum, scale = 2.5>
  %p2, %e2, %s2 = moe.route %logits correction @correction
      routing <top_k = 2, scoring = sigmoid, normalize = true, groups = 2, top_groups = 1, group_score = top2_sum, scale = 2.5>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x2xf32>)
  return %s1, %s2 : tensor<8x4xf32>, tensor<8x2xf32>
}

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// CHECK-LABEL: func @experts
func.func @experts(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) -> tensor<8x16xbf16> {
  // CHECK: moe.dispatch %{{.*}}, %{{.*}}, %{{.*}} top_k 2 experts 4 ranks 2 capacity 20
  // CHECK-SAME: -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !moe.handle<tokens = 8, top_k = 2, experts = 4>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  // CHECK: moe.grouped_linear %{{.*}}, %{{.*}}, @gate_up : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %h = moe.grouped_linear %rows, %counts, @gate_up
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  // CHECK: moe.swiglu %{{.*}} scale %{{.*}} counts %{{.*}} activation <limit = 7.0, alpha = 1.702, up_offset = 1.0>
  %a = moe.swiglu %h scale %rp counts %counts activation <limit = 7.0, alpha = 1.702, up_offset = 1.0>
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>) -> tensor<?x8xbf16, #rows>
  // CHECK: moe.grouped_linear %{{.*}}, %{{.*}}, @down bias @down_bias scale %{{.*}} :
  %y = moe.grouped_linear %a, %counts, @down bias @down_bias scale %rp
      : (tensor<?x8xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #rows>) -> tensor<?x16xbf16, #rows>
  // CHECK: moe.combine %{{.*}}, %{{.*}} top_k 2 experts 4 ranks 2 capacity 20
  %o = moe.combine %y, %handle top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  return %o : tensor<8x16xbf16>
}

// CHECK-LABEL: func @dense_swiglu
func.func @dense_swiglu(%x: tensor<8x16xbf16>) -> tensor<8x8xbf16> {
  // CHECK: moe.swiglu %{{.*}} activation <> : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
  %a = moe.swiglu %x activation <> : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
  return %a : tensor<8x8xbf16>
}

// CHECK-LABEL: func @loss
func.func @loss(%logits: tensor<8x64xbf16>, %labels: tensor<8xi32>, %wide: tensor<8x64xf64>) -> (tensor<1xf32>, tensor<1xf64>) {
  // CHECK: moe.cross_entropy %{{.*}}, %{{.*}} grad_scale 0.125 : (tensor<8x64xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  %l, %s = moe.cross_entropy %logits, %labels grad_scale 0.125
      : (tensor<8x64xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  // CHECK: moe.cross_entropy %{{.*}}, %{{.*}} : (tensor<8x64xf64>, tensor<8xi32>) -> (tensor<1xf64>, tensor<8xf64>)
  %m, %t = moe.cross_entropy %wide, %labels
      : (tensor<8x64xf64>, tensor<8xi32>) -> (tensor<1xf64>, tensor<8xf64>)
  // CHECK: moe.cross_entropy %{{.*}}, %{{.*}} weight 0.3 grad_scale 0.125 :
  %n, %u = moe.cross_entropy %logits, %labels weight 0.3 grad_scale 0.125
      : (tensor<8x64xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  return %l, %m : tensor<1xf32>, tensor<1xf64>
}
