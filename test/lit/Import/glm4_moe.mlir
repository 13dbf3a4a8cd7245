// RUN: moe-translate --import-hf-config %project_source/examples/models/glm-4.5-air.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/glm-4.5-air.json | moe-opt --verify-roundtrip -o /dev/null

// Half of a head's columns rotate; biases of queries, keys and values only.

// CHECK:      // glm-4.5-air: 106852251264 parameters, 13424129664 active per token
// CHECK-NEXT: // multi-token prediction: 2375059584 parameters, 298879104 active per token
// CHECK:      #moe.experts<count = 128, intermediate = 1408, shared_intermediate = 1408,
// CHECK-SAME:   scoring = sigmoid, normalize = true, group_score = top2_sum>, correction_bias = true>
// CHECK:      #moe.gqa<heads = 96, kv_heads = 8, head_dim = 128, qkv_bias = true, softmax_scale
// CHECK-SAME:   rotary = <dim = 64, theta = 1000000.0>>
// CHECK:      layer 0 {{.*}} ffn(#moe.dense<intermediate = 10944>)
// CHECK-NEXT: layer 1 {{.*}} ffn(#experts)
// CHECK:      moe.mtp_layer {{.*}} layer 46
