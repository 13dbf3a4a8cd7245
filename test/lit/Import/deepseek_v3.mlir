// RUN: moe-translate --import-hf-config %project_source/examples/models/deepseek-v3.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/deepseek-v3.json | moe-opt --verify-roundtrip -o /dev/null
// RUN: moe-translate --import-hf-config %project_source/examples/models/deepseek-v3.json --reduce mtp=0,first_dense=1,layers=2 --seq 4096 | FileCheck %s --check-prefix=REDUCED

// Low-rank queries, groups of experts, a correction bias, and a layer that
// predicts a second token; its parameters are counted apart.

// CHECK:      // deepseek-v3: 671026419200 parameters, 37552297472 active per token
// CHECK-NEXT: // multi-token prediction: 11610068224 parameters, 688100608 active per token
// CHECK:      #[[EXPERTS:.*]] = #moe.experts<count = 256, intermediate = 2048, shared_intermediate = 2048,
// CHECK-SAME:   routing = <top_k = 8, scoring = sigmoid, normalize = true, groups = 8, top_groups = 4, group_score = top2_sum, scale = 2.5>,
// CHECK-SAME:   correction_bias = true>
// CHECK:      #[[MLA:.*]] = #moe.mla<heads = 128, q_lora_rank = 1536, kv_lora_rank = 512,
// CHECK-SAME:   softmax_scale = 0.1352
// CHECK:      moe.model @"deepseek-v3"
// CHECK:        moe.decoder_layer %{{.*}} layer 2 attention(#[[MLA]]) ffn(#moe.dense<intermediate = 18432>)
// CHECK:        moe.decoder_layer %{{.*}} layer 3 attention(#[[MLA]]) ffn(#[[EXPERTS]])
// CHECK:        %[[X:.*]] = moe.decoder_layer %{{.*}} layer 60
// CHECK-NEXT:   %[[MTP:.*]] = moe.mtp_layer %[[X]], %{{.*}} layer 61 attention(#[[MLA]]) ffn(#[[EXPERTS]])
// CHECK-NEXT:   moe.lm_loss %[[X]], %{{.*}} mtp(%[[MTP]])

// REDUCED-NOT:  multi-token
// REDUCED:      // reduced: first_dense=1
// REDUCED-NEXT: // reduced: layers=2
// REDUCED-NEXT: // reduced: mtp=0
// REDUCED:      layer 0 {{.*}} ffn(#moe.dense<intermediate = 18432>) : tensor<4096x7168xbf16>
// REDUCED-NEXT: %[[X:.*]] = moe.decoder_layer %{{.*}} layer 1 {{.*}} ffn(#experts)
// REDUCED-NEXT: moe.lm_loss %[[X]], %{{.*}} : (tensor<4096x7168xbf16>, tensor<4096xi32>) -> tensor<1xf32>
