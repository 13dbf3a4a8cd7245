// RUN: moe-opt %s --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --emit-bytecode | moe-opt | FileCheck %s

moe.parameter @table : tensor<64x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
moe.parameter @q : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @q_bias : tensor<32xbf16> dense #moe.initializer<zeros>
moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @sinks : tensor<2xbf16> dense #moe.initializer<zeros>
moe.parameter @gate_up : tensor<2x16x16xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @gate_up_bias : tensor<2x16xbf16> expert #moe.initializer<zeros>

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// CHECK-LABEL: func @norm_and_linear
func.func @norm_and_linear(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %i: tensor<8x1xf32>, %d_q: tensor<8x32xbf16>, %d_l: tensor<8x4xf32>)
    -> (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) {
  // CHECK: moe.rms_norm_input_grad %{{.*}}, %{{.*}}, %{{.*}}, @norm : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>) -> tensor<8x16xbf16>
  %a = moe.rms_norm_input_grad %d, %x, %i, @norm : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>) -> tensor<8x16xbf16>
  // CHECK: moe.linear_input_grad %{{.*}}, @q : (tensor<8x32xbf16>) -> tensor<8x16xbf16>
  %b = moe.linear_input_grad %d_q, @q : (tensor<8x32xbf16>) -> tensor<8x16xbf16>
  // CHECK: moe.linear_input_grad %{{.*}}, @router : (tensor<8x4xf32>) -> tensor<8x16xbf16>
  %c = moe.linear_input_grad %d_l, @router : (tensor<8x4xf32>) -> tensor<8x16xbf16>
  return %a, %b, %c : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>
}

// CHECK-LABEL: func @attention
func.func @attention(%d_o: tensor<8x32xbf16>, %q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %o: tensor<8x32xbf16>, %l: tensor<2x8xf32>, %d_key: tensor<8x24xbf16>)
    -> (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x4xbf16>) {
  // CHECK: moe.attention_input_grad %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 window 2 :
  // CHECK-SAME: -> (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
  %d_q, %d_k, %d_v = moe.attention_input_grad %d_o, %q, %k, %v, %o, %l heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 window 2
      : (tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>)
      -> (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
  // CHECK: moe.rope_input_grad %{{.*}} heads 2 sequence 4 rotary <begin = 4, dim = 12> : tensor<8x32xbf16>
  %r = moe.rope_input_grad %d_q heads 2 sequence 4 rotary <begin = 4, dim = 12> : tensor<8x32xbf16>
  // CHECK: moe.mla_key_input_grad %{{.*}} heads 2 sequence 4 rotary <dim = 4> : (tensor<8x24xbf16>) -> (tensor<8x16xbf16>, tensor<8x4xbf16>)
  %d_nope, %d_pe = moe.mla_key_input_grad %d_key heads 2 sequence 4 rotary <dim = 4> : (tensor<8x24xbf16>) -> (tensor<8x16xbf16>, tensor<8x4xbf16>)
  // CHECK: moe.attention_sink_grad %{{.*}}, %{{.*}}, %{{.*}}, @sinks heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
  moe.attention_sink_grad %d_o, %o, %l, @sinks heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
  return %d_k, %d_nope, %d_pe : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x4xbf16>
}

// CHECK-LABEL: func @routes
func.func @routes(%d_p: tensor<8x2xf32>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>, %s: tensor<8x4xf32>) -> (tensor<8x4xf32>, tensor<8x4xf32>) {
  // CHECK: moe.route_input_grad %{{.*}}, %{{.*}}, %{{.*}} routing <top_k = 2, scoring = softmax, normalize = true> :
  %a = moe.route_input_grad %d_p, %p, %e routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
  // CHECK: moe.route_input_grad %{{.*}}, %{{.*}}, %{{.*}} scores %{{.*}} routing <top_k = 2, scoring = softmax> :
  %b = moe.route_input_grad %d_p, %p, %e scores %s routing <top_k = 2, scoring = softmax>
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x4xf32>) -> tensor<8x4xf32>
  return %a, %b : tensor<8x4xf32>, tensor<8x4xf32>
}

// CHECK-LABEL: func @experts
func.func @experts(%d_y: tensor<8x16xbf16>, %x: tensor<?x16xbf16, #rows>, %rp: tensor<?xf32, #rows>, %counts: tensor<2xi32>, %handle: !handle)
    -> (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<?xf32, #rows>) {
  // CHECK: moe.combine_input_grad %{{.*}}, %{{.*}} top_k 2 experts 4 ranks 2 capacity 20 groups 2 top_groups 1
  %d_rows = moe.combine_input_grad %d_y, %handle top_k 2 experts 4 ranks 2 capacity 20 groups 2 top_groups 1
      : (tensor<8x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  // CHECK: moe.grouped_linear_input_grad %{{.*}}, %{{.*}}, @gate_up : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %d_x = moe.grouped_linear_input_grad %d_rows, %counts, @gate_up
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  // CHECK: moe.grouped_linear_bias_scale_grad %{{.*}}, %{{.*}}, @gate_up_bias : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?xf32, #rows>
  %d_s = moe.grouped_linear_bias_scale_grad %d_rows, %counts, @gate_up_bias
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?xf32, #rows>
  // CHECK: moe.grouped_linear_weight_grad %{{.*}}, %{{.*}}, %{{.*}}, @gate_up bias @gate_up_bias scale %{{.*}} :
  moe.grouped_linear_weight_grad %d_rows, %x, %counts, @gate_up bias @gate_up_bias scale %rp
      : tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #rows>
  // CHECK: moe.dispatch_input_grad %{{.*}}, %{{.*}}, %{{.*}} top_k 2 experts 4 ranks 2 capacity 20
  %d_t, %d_p = moe.dispatch_input_grad %d_x, %d_s, %handle top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, !handle) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
  return %d_t, %d_p, %d_s : tensor<8x16xbf16>, tensor<8x2xf32>, tensor<?xf32, #rows>
}

// CHECK-LABEL: func @swiglus
func.func @swiglus(%d: tensor<?x8xbf16, #rows>, %x: tensor<?x16xbf16, #rows>, %rp: tensor<?xf32, #rows>, %counts: tensor<2xi32>, %d2: tensor<8x8xbf16>, %x2: tensor<8x16xbf16>)
    -> (tensor<?x16xbf16, #rows>, tensor<8x16xbf16>) {
  // CHECK: moe.swiglu_input_grad %{{.*}}, %{{.*}} scale %{{.*}} counts %{{.*}} activation <> :
  // CHECK-SAME: -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>)
  %a, %s = moe.swiglu_input_grad %d, %x scale %rp counts %counts activation <>
      : (tensor<?x8xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>)
  // CHECK: moe.swiglu_input_grad %{{.*}}, %{{.*}} activation <> : (tensor<8x8xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %b = moe.swiglu_input_grad %d2, %x2 activation <> : (tensor<8x8xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
  return %a, %b : tensor<?x16xbf16, #rows>, tensor<8x16xbf16>
}

// CHECK-LABEL: func @weights_and_loss
func.func @weights_and_loss(%d: tensor<8x16xbf16>, %x: tensor<8x16xbf16>, %i: tensor<8x1xf32>, %tokens: tensor<8xi32>, %d_q: tensor<8x32xbf16>, %logits: tensor<8x64xbf16>, %lse: tensor<8xf32>) -> tensor<8x64xbf16> {
  // CHECK: moe.embedding_weight_grad %{{.*}}, %{{.*}}, @table : tensor<8x16xbf16>, tensor<8xi32>
  moe.embedding_weight_grad %d, %tokens, @table : tensor<8x16xbf16>, tensor<8xi32>
  // CHECK: moe.rms_norm_weight_grad %{{.*}}, %{{.*}}, %{{.*}}, @norm : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  moe.rms_norm_weight_grad %d, %x, %i, @norm : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  // CHECK: moe.linear_weight_grad %{{.*}}, %{{.*}}, @q bias @q_bias : tensor<8x32xbf16>, tensor<8x16xbf16>
  moe.linear_weight_grad %d_q, %x, @q bias @q_bias : tensor<8x32xbf16>, tensor<8x16xbf16>
  // CHECK: moe.cross_entropy_input_grad %{{.*}}, %{{.*}}, %{{.*}} scale 0.125 : (tensor<8x64xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x64xbf16>
  %g = moe.cross_entropy_input_grad %logits, %tokens, %lse scale 0.125
      : (tensor<8x64xbf16>, tensor<8xi32>, tensor<8xf32>) -> tensor<8x64xbf16>
  return %g : tensor<8x64xbf16>
}
