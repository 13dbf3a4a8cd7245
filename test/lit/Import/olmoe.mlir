// RUN: moe-translate --import-hf-config %project_source/examples/models/olmoe-1b-7b.json | FileCheck %s
// RUN: moe-translate --import-hf-config %project_source/examples/models/olmoe-1b-7b.json | moe-opt --verify-roundtrip -o /dev/null

// Norms over all heads together; probabilities are not normalized.

// CHECK:      // olmoe-1b-7b: 6919161856 parameters, 1282017280 active per token
// CHECK:      #moe.experts<count = 64, intermediate = 1024, routing = <top_k = 8, scoring = softmax>>
// CHECK:      #moe.gqa<heads = 16, kv_heads = 16, head_dim = 128, qk_norm = full,
// CHECK:      layer 15
// CHECK-NEXT: moe.lm_loss
