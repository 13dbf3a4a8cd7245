// RUN: not moe-translate --import-hf-config %project_source/examples/models/mixtral-8x7b.json --reduce depth=4 2>&1 | FileCheck %s --check-prefix=KEY
// KEY: moe-translate: error: reduction "depth=4": unknown key; expected key=value with one of first_dense, layers,

// RUN: not moe-translate --import-hf-config %project_source/examples/models/mixtral-8x7b.json --reduce heads=6 2>&1 | FileCheck %s --check-prefix=DIVIDE
// DIVIDE: moe-translate: error: reduction kv_heads: is 8; expected a divisor of reduction heads, which is 6

// RUN: not moe-translate --import-hf-config %project_source/examples/models/mixtral-8x7b.json --seq 0 2>&1 | FileCheck %s --check-prefix=SEQ
// SEQ: moe-translate: error: --seq: is 0; expected at least 1

// RUN: echo '{"model_type": "llama"}' | not moe-translate --import-hf-config 2>&1 | FileCheck %s --check-prefix=TYPE
// TYPE: error: <stdin>: model_type: is "llama"; expected "deepseek_v2" or

// RUN: not moe-translate --import-hf-config %s 2>&1 | FileCheck %s --check-prefix=JSON
// JSON: errors.mlir: not valid JSON; expected the text of a Hugging Face config.json
