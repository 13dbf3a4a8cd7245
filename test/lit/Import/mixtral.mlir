// RUN: moe-translate --import-hf-config %project_source/examples/models/mixtral-8x7b.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/mixtral-8x7b.json | moe-opt --verify-roundtrip -o /dev/null

// CHECK:      // mixtral-8x7b: 46702792704 parameters, 12879925248 active per token
// CHECK:      #[[EXPERTS:.*]] = #moe.experts<count = 8, intermediate = 14336, routing = <top_k = 2, scoring = softmax, normalize = true>>
// CHECK:      #[[GQA:.*]] = #moe.gqa<heads = 32, kv_heads = 8, head_dim = 128, softmax_scale
// CHECK:      moe.decoder_layer %{{.*}} layer 31 attention(#[[GQA]]) ffn(#[[EXPERTS]])
// CHECK-NEXT: moe.lm_loss
