// RUN: moe-opt %s --verify-roundtrip | FileCheck %s

// Fields with their usual value are left out; reals are printed with the fewest
// digits that give the same number back; long attributes get an alias, which
// stands before the module.
// CHECK-DAG: #experts = #moe.experts<count = 32, intermediate = 64, shared_intermediate = 128, routing = <top_k = 4, scoring = sigmoid>, correction_bias = true, router_bias = true, expert_bias = true, activation = <limit = 7.0>>
// CHECK-DAG: #gqa = #moe.gqa<heads = 64, kv_heads = 8, head_dim = 64, qkv_bias = true, out_bias = true, qk_norm = full, sinks = true, window = 128, softmax_scale = 0.125, rotary = <dim = 32>>
// CHECK-DAG: #mla = #moe.mla<heads = 16, kv_lora_rank = 512, nope_dim = 128, rope_dim = 64, v_dim = 128, softmax_scale = 0.125, rotary = <dim = 64>>
// CHECK-DAG: #rows = #moe.rows<balanced = 0, capacity = 8>
// CHECK: module attributes
module attributes {
  // CHECK-SAME: moe.a = #moe.rotary<dim = 64>
  moe.a = #moe.rotary<begin = 0, dim = 64, interleaved = false, theta = 10000.0, yarn_factor = 1.0, yarn_truncate = true>,
  // CHECK-SAME: moe.b = #moe.rotary<begin = 64, dim = 32, interleaved = true, theta = 150000.0, yarn_factor = 32.0, yarn_original_length = 4096, yarn_beta_slow = 2.0, yarn_truncate = false, attention_scale = 1.3465735902799727>
  moe.b = #moe.rotary<begin = 64, dim = 32, interleaved = true, theta = 150000.0, yarn_factor = 32.0, yarn_original_length = 4096, yarn_beta_slow = 2.0, yarn_truncate = false, attention_scale = 1.3465735902799727>,
  // CHECK-SAME: moe.c = #moe.routing<top_k = 1, scoring = softmax>
  moe.c = #moe.routing<top_k = 1, scoring = softmax, groups = 1, group_score = maximum, scale = 1.0>,
  // CHECK-SAME: moe.d = #moe.routing<top_k = 8, scoring = sigmoid, normalize = true, groups = 8, top_groups = 4, group_score = top2_sum, scale = 2.5>
  moe.d = #moe.routing<top_k = 8, scoring = sigmoid, normalize = true, groups = 8, top_groups = 4, group_score = top2_sum, scale = 2.5>,
  // CHECK-SAME: moe.e = #moe.swiglu<>
  moe.e = #moe.swiglu<limit = 0.0, alpha = 1.0>,
  // CHECK-SAME: moe.f = #moe.swiglu<up_offset = -1.0>
  moe.f = #moe.swiglu<up_offset = -1.0>,
  // CHECK-SAME: moe.g = #moe.dense<intermediate = 16>
  moe.g = #moe.dense<intermediate = 16>,
  // CHECK-SAME: moe.h = #moe.initializer<normal, 1.0e-05>
  moe.h = #moe.initializer<normal, 0.00001>,
  // CHECK-SAME: moe.i = #moe.initializer<zeros>
  moe.i = #moe.initializer<zeros>,
  moe.j = #moe.gqa<heads = 64, kv_heads = 8, head_dim = 64, qkv_bias = true, out_bias = true, qk_norm = full, sinks = true, window = 128, softmax_scale = 0.125, rotary = #moe.rotary<dim = 32>>,
  moe.k = #moe.mla<heads = 16, q_lora_rank = 0, kv_lora_rank = 512, nope_dim = 128, rope_dim = 64, v_dim = 128, softmax_scale = 0.125, rotary = #moe.rotary<dim = 64>>,
  moe.l = #moe.experts<count = 32, intermediate = 64, shared_intermediate = 128, routing = #moe.routing<top_k = 4, scoring = sigmoid>, correction_bias = true, router_bias = true, expert_bias = true, activation = #moe.swiglu<limit = 7.0>>,
  // CHECK-SAME: moe.m = tensor<?x4x2xbf16, #rows>
  moe.m = tensor<?x4x2xbf16, #moe.rows<balanced = 0, capacity = 8>>,
  // CHECK-SAME: moe.n = !moe.handle<tokens = 3, top_k = 2, experts = 2>
  moe.n = !moe.handle<tokens = 3, top_k = 2, experts = 2>
} {}
