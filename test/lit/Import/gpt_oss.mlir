// RUN: moe-translate --import-hf-config %project_source/examples/models/gpt-oss-20b.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/gpt-oss-20b.json | moe-opt --verify-roundtrip -o /dev/null

// Biases, sinks, a window in every other layer, clamped SwiGLU.

// CHECK:      // gpt-oss-20b: 20914757184 parameters, 4187440704 active per token
// CHECK:      #moe.experts<count = 32, intermediate = 2880, routing = <top_k = 4, scoring = softmax, normalize = true>,
// CHECK-SAME:   router_bias = true, expert_bias = true, activation = <limit = 7.0, alpha = 1.702, up_offset = 1.0>>
// CHECK:      #[[SLIDING:.*]] = #moe.gqa<heads = 64, kv_heads = 8, head_dim = 64, qkv_bias = true, out_bias = true, sinks = true, window = 128, softmax_scale = 0.125,
// CHECK-SAME:   yarn_truncate = false, attention_scale = 1.34657359
// CHECK:      #[[FULL:.*]] = #moe.gqa<heads = 64, kv_heads = 8, head_dim = 64, qkv_bias = true, out_bias = true, sinks = true, softmax_scale = 0.125,
// CHECK:      layer 0 attention(#[[SLIDING]])
// CHECK-NEXT: layer 1 attention(#[[FULL]])
// CHECK:      layer 22 attention(#[[SLIDING]])
// CHECK-NEXT: layer 23 attention(#[[FULL]])
// CHECK-NEXT: moe.lm_loss
