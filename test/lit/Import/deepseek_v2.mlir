// RUN: moe-translate --import-hf-config %project_source/examples/models/deepseek-v2-lite.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/deepseek-v2-lite.json | moe-opt --verify-roundtrip -o /dev/null

// Latent attention with direct queries, one dense layer, two shared experts.

// CHECK:      // deepseek-v2-lite: 15706484224 parameters, 2661150208 active per token
// CHECK:      #[[EXPERTS:.*]] = #moe.experts<count = 64, intermediate = 1408, shared_intermediate = 2816,
// CHECK-SAME:   routing = <top_k = 6, scoring = softmax>>
// CHECK:      #[[MLA:.*]] = #moe.mla<heads = 16, kv_lora_rank = 512, nope_dim = 128, rope_dim = 64, v_dim = 128,
// CHECK-SAME:   softmax_scale = 0.1147
// CHECK-SAME:   rotary = <dim = 64, interleaved = true, yarn_factor = 40.0, yarn_original_length = 4096>>
// CHECK:      moe.model @"deepseek-v2-lite" architecture "deepseek_v2" hidden 2048 vocabulary 102400
// CHECK:        moe.input_embedding %{{.*}} : (tensor<?xi32>) -> tensor<?x2048xbf16>
// CHECK:        moe.decoder_layer %{{.*}} layer 0 attention(#[[MLA]]) ffn(#moe.dense<intermediate = 10944>)
// CHECK:        moe.decoder_layer %{{.*}} layer 1 attention(#[[MLA]]) ffn(#[[EXPERTS]])
// CHECK:        moe.decoder_layer %{{.*}} layer 26 attention(#[[MLA]]) ffn(#[[EXPERTS]])
// CHECK-NEXT:   %[[LOSS:.*]] = moe.lm_loss
// CHECK-NEXT:   moe.yield %[[LOSS]] : tensor<1xf32>
