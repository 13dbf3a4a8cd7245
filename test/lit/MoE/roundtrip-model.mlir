// RUN: moe-opt %s --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --emit-bytecode | moe-opt | FileCheck %s

// Long attributes get an alias, so that a layer stays on one line.
// CHECK-DAG: #[[$GQA:gqa]] = #moe.gqa<heads = 32, kv_heads = 4, head_dim = 128, qk_norm = head, softmax_scale = 0.08838834764831845, rotary = <dim = 128, theta = 1000000.0>>
// CHECK-DAG: #[[$MLA:mla]] = #moe.mla<heads = 128, q_lora_rank = 1536, kv_lora_rank = 512, nope_dim = 128, rope_dim = 64, v_dim = 128, softmax_scale = 0.125, rotary = <dim = 64, interleaved = true>>
// CHECK-DAG: #[[$EXPERTS:experts]] = #moe.experts<count = 128, intermediate = 768, routing = <top_k = 8, scoring = softmax, normalize = true>>
#gqa = #moe.gqa<heads = 32, kv_heads = 4, head_dim = 128, qk_norm = head, softmax_scale = 0.08838834764831845, rotary = #moe.rotary<dim = 128, theta = 1000000.0>>
#mla = #moe.mla<heads = 128, q_lora_rank = 1536, kv_lora_rank = 512, nope_dim = 128, rope_dim = 64, v_dim = 128, softmax_scale = 0.125, rotary = #moe.rotary<dim = 64, interleaved = true>>
#experts = #moe.experts<count = 128, intermediate = 768, routing = #moe.routing<top_k = 8, scoring = softmax, normalize = true>>

// CHECK-LABEL: moe.model @small architecture "qwen3_moe" hidden 2048 vocabulary 151936 norm_epsilon 1.0e-06 initializer_range 0.02
// CHECK-SAME: (%[[TOKENS:.*]]: tensor<?xi32>, %[[LABELS:.*]]: tensor<?xi32>) {
moe.model @small architecture "qwen3_moe" hidden 2048 vocabulary 151936 norm_epsilon 1.0e-6 initializer_range 0.02
    (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
  // CHECK: %[[X0:.*]] = moe.input_embedding %[[TOKENS]] : (tensor<?xi32>) -> tensor<?x2048xbf16>
  %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x2048xbf16>
  // CHECK: %[[X1:.*]] = moe.decoder_layer %[[X0]] layer 0 attention(#[[$GQA]]) ffn(#moe.dense<intermediate = 6144>) : tensor<?x2048xbf16>
  %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#moe.dense<intermediate = 6144>) : tensor<?x2048xbf16>
  // CHECK: %[[X2:.*]] = moe.decoder_layer %[[X1]] layer 1 attention(#[[$MLA]]) ffn(#[[$EXPERTS]]) : tensor<?x2048xbf16>
  %x2 = moe.decoder_layer %x1 layer 1 attention(#mla) ffn(#experts) : tensor<?x2048xbf16>
  // CHECK: %[[X3:.*]] = moe.mtp_layer %[[X2]], %[[TOKENS]] layer 2 attention(#[[$MLA]]) ffn(#[[$EXPERTS]]) : tensor<?x2048xbf16>, tensor<?xi32>
  %x3 = moe.mtp_layer %x2, %tokens layer 2 attention(#mla) ffn(#experts) : tensor<?x2048xbf16>, tensor<?xi32>
  // CHECK: moe.lm_loss %[[X2]], %[[LABELS]] mtp(%[[X3]]) {tied = true} : (tensor<?x2048xbf16>, tensor<?xi32>, tensor<?x2048xbf16>) -> tensor<1xf32>
  %loss = moe.lm_loss %x2, %labels mtp(%x3) {tied = true}
      : (tensor<?x2048xbf16>, tensor<?xi32>, tensor<?x2048xbf16>) -> tensor<1xf32>
  // CHECK: moe.yield %{{.*}} : tensor<1xf32>
  moe.yield %loss : tensor<1xf32>
}
