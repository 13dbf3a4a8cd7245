// RUN: moe-translate --import-hf-config %project_source/examples/models/qwen3-30b-a3b.json --reduce layers=1,hidden=64 --print-config | FileCheck %s

// CHECK:      {
// CHECK-NEXT:   "name": "qwen3-30b-a3b",
// CHECK-NEXT:   "architecture": "qwen3_moe",
// CHECK-NEXT:   "hidden": 64,
// CHECK-NEXT:   "vocabulary": 151936,
// CHECK-NEXT:   "norm_epsilon": 1e-06,
// CHECK-NEXT:   "initializer_range": 0.02,
// CHECK-NEXT:   "reductions": [
// CHECK-NEXT:     "layers=1",
// CHECK-NEXT:     "hidden=64"
// CHECK-NEXT:   ],
// CHECK-NEXT:   "notes": [],
// CHECK-NEXT:   "parameters": {
// CHECK:        "layers": [
// CHECK:            "kind": "gqa",
// CHECK:            "qk_norm": "head",
// CHECK:            "kind": "experts",
// CHECK:              "top_k": 8,
// CHECK:        "mtp_layers": []
