// RUN: moe-translate --import-hf-config %project_source/examples/models/qwen3-30b-a3b.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/qwen3-30b-a3b.json | moe-opt --verify-roundtrip -o /dev/null
// RUN: moe-translate --import-hf-config %project_source/examples/models/qwen3-235b-a22b.json | FileCheck %s --check-prefix=LARGE

// Norms of each head of queries and keys; every layer has experts.

// CHECK:      // qwen3-30b-a3b: 30532122624 parameters, 3353032704 active per token
// CHECK:      #[[EXPERTS:.*]] = #moe.experts<count = 128, intermediate = 768, routing = <top_k = 8, scoring = softmax, normalize = true>>
// CHECK:      #[[GQA:.*]] = #moe.gqa<heads = 32, kv_heads = 4, head_dim = 128, qk_norm = head,
// CHECK-SAME:   rotary = <dim = 128, theta = 1000000.0>>
// CHECK:        moe.decoder_layer %{{.*}} layer 0 attention(#[[GQA]]) ffn(#[[EXPERTS]])
// CHECK:        moe.decoder_layer %{{.*}} layer 47 attention(#[[GQA]]) ffn(#[[EXPERTS]])
// CHECK-NEXT:   moe.lm_loss

// LARGE: // qwen3-235b-a22b: 235093634560 parameters, 22190763520 active per token
// LARGE: layer 93
