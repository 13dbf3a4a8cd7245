// RUN: moe-opt %s --moe-expand-layers --split-input-file --verify-roundtrip | FileCheck %s
// RUN: moe-opt %s --moe-expand-layers=capacity-factor=1.3 --split-input-file | FileCheck %s --check-prefix=ROUND
// RUN: moe-opt %s --moe-expand-layers=capacity-factor=1 --split-input-file | FileCheck %s --check-prefix=ONE
// RUN: moe-opt %s --moe-expand-layers=capacity-factor=0 --split-input-file | FileCheck %s --check-prefix=MOST
// RUN: moe-opt %s --moe-expand-layers=capacity-factor=1e300 --split-input-file | FileCheck %s --check-prefix=MOST

// Grouped queries with a norm of each head, and experts. A microbatch has
// 2 x 4 tokens; each of two expert ranks holds two of four experts.

#gqa = #moe.gqa<heads = 4, kv_heads = 2, head_dim = 8, qk_norm = head, softmax_scale = 0.5, rotary = #moe.rotary<dim = 8>>
#experts = #moe.experts<count = 4, intermediate = 6, routing = #moe.routing<top_k = 2, scoring = softmax, normalize = true>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 2, tensor_ranks = 1, context_ranks = 1, microbatches = 3, microbatch_size = 2, sequence_length = 4>

// 1.25 and 1.3 times 16 balanced rows, rounded up; 8 tokens of two ranks can
// bring at most 32.
// CHECK: #[[$ROWS:.*]] = #moe.rows<balanced = 16, capacity = 20>
// ROUND: #moe.rows<balanced = 16, capacity = 21>
// ONE: #moe.rows<balanced = 16, capacity = 16>
// MOST: #moe.rows<balanced = 16, capacity = 32>

// CHECK-LABEL: module @gqa
module @gqa attributes {pipe.layout = #layout} {
  // CHECK-NOT: moe.model
  moe.model @model architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.03
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    // CHECK: moe.parameter @embedding.table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.03>{{$}}
    // CHECK: moe.block @embedding embedding inputs(tokens) outputs(hidden)
    // CHECK-NEXT: forward(%[[TOKENS:.*]]: tensor<8xi32>) {
    // CHECK-NEXT: %[[X:.*]] = moe.embedding %[[TOKENS]], @embedding.table : (tensor<8xi32>) -> tensor<8x16xbf16>
    // CHECK-NEXT: moe.yield %[[X]] : tensor<8x16xbf16>{{$}}
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>

    // Norms start at one, have no weight decay, and are shared by the heads.
    // Experts are sharded, everything else is not.
    // CHECK: moe.parameter @layers.0.input_norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.q_proj : tensor<32x16xbf16> dense #moe.initializer<normal, 0.03>{{$}}
    // CHECK: moe.parameter @layers.0.attention.k_proj : tensor<16x16xbf16> dense
    // CHECK: moe.parameter @layers.0.attention.v_proj : tensor<16x16xbf16> dense
    // CHECK: moe.parameter @layers.0.attention.q_norm : tensor<8xbf16> dense #moe.initializer<ones> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.k_norm : tensor<8xbf16> dense #moe.initializer<ones> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.o_proj : tensor<16x32xbf16> dense
    // CHECK: moe.parameter @layers.0.post_norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
    // CHECK: moe.parameter @layers.0.moe.router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.03>{{$}}
    // CHECK: moe.parameter @layers.0.moe.experts.gate_up : tensor<2x12x16xbf16> expert #moe.initializer<normal, 0.03>{{$}}
    // CHECK: moe.parameter @layers.0.moe.experts.down : tensor<2x16x6xbf16> expert #moe.initializer<normal, 0.03>{{$}}
    // CHECK-NOT: moe.parameter
    // CHECK: moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
    // CHECK-NEXT: forward(%[[X:.*]]: tensor<8x16xbf16>) {
    // CHECK-NEXT: %[[N:.*]], %{{.*}} = moe.rms_norm %[[X]], @layers.0.input_norm epsilon 1.0e-06 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
    // CHECK-NEXT: %[[Q:.*]] = moe.linear %[[N]], @layers.0.attention.q_proj : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
    // CHECK-NEXT: %[[K:.*]] = moe.linear %[[N]], @layers.0.attention.k_proj : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    // CHECK-NEXT: %[[V:.*]] = moe.linear %[[N]], @layers.0.attention.v_proj : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
    // CHECK-NEXT: %[[QN:.*]], %{{.*}} = moe.rms_norm %[[Q]], @layers.0.attention.q_norm epsilon 1.0e-06 groups 4 : (tensor<8x32xbf16>) -> (tensor<8x32xbf16>, tensor<8x4xf32>)
    // CHECK-NEXT: %[[KN:.*]], %{{.*}} = moe.rms_norm %[[K]], @layers.0.attention.k_norm epsilon 1.0e-06 groups 2 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
    // CHECK-NEXT: %[[QR:.*]] = moe.rope %[[QN]] heads 4 sequence 4 rotary <dim = 8> : tensor<8x32xbf16>
    // CHECK-NEXT: %[[KR:.*]] = moe.rope %[[KN]] heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
    // CHECK-NEXT: %[[A:.*]], %{{.*}} = moe.attention %[[QR]], %[[KR]], %[[V]] heads 4 kv_heads 2 qk_dim 8 v_dim 8 sequence 4 scale 0.5 : {{.*}} -> (tensor<8x32xbf16>, tensor<4x8xf32>)
    // CHECK-NEXT: %[[O:.*]] = moe.linear %[[A]], @layers.0.attention.o_proj : (tensor<8x32xbf16>) -> tensor<8x16xbf16>
    // CHECK-NEXT: %[[MIDDLE:.*]] = moe.add %[[X]], %[[O]]
    // CHECK-NEXT: %[[N2:.*]], %{{.*}} = moe.rms_norm %[[MIDDLE]], @layers.0.post_norm
    // CHECK-NEXT: %[[LOGITS:.*]] = moe.linear %[[N2]], @layers.0.moe.router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
    // CHECK-NEXT: %[[P:.*]], %[[E:.*]] = moe.route %[[LOGITS]] routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
    // CHECK-NEXT: %[[R:.*]], %[[RP:.*]], %[[COUNTS:.*]], %[[HANDLE:.*]] = moe.dispatch %[[N2]], %[[P]], %[[E]] top_k 2 experts 4 ranks 2 capacity 20 :
    // CHECK-SAME: -> (tensor<?x16xbf16, #[[$ROWS]]>, tensor<?xf32, #[[$ROWS]]>, tensor<2xi32>, !moe.handle<tokens = 8, top_k = 2, experts = 4>)
    // CHECK-NEXT: %[[FC1:.*]] = moe.grouped_linear %[[R]], %[[COUNTS]], @layers.0.moe.experts.gate_up : {{.*}} -> tensor<?x12xbf16, #[[$ROWS]]>
    // The probability goes into the activation.
    // CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] scale %[[RP]] counts %[[COUNTS]] activation <> : {{.*}} -> tensor<?x6xbf16, #[[$ROWS]]>
    // CHECK-NEXT: %[[FC2:.*]] = moe.grouped_linear %[[ACT]], %[[COUNTS]], @layers.0.moe.experts.down : {{.*}} -> tensor<?x16xbf16, #[[$ROWS]]>
    // CHECK-NEXT: %[[C:.*]] = moe.combine %[[FC2]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20 : {{.*}} -> tensor<8x16xbf16>
    // CHECK-NEXT: %[[Y:.*]] = moe.add %[[MIDDLE]], %[[C]]
    // CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16>{{$}}
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#experts) : tensor<?x16xbf16>

    // The loss is a mean over the tokens of the step: 8 tokens, 3 microbatches,
    // 2 x 2 replicas.
    // CHECK: moe.parameter @final_norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
    // CHECK: moe.parameter @lm_head : tensor<32x16xbf16> dense #moe.initializer<normal, 0.03>{{$}}
    // CHECK: moe.block @head head inputs(hidden, labels) outputs(loss)
    // CHECK-NEXT: forward(%[[X:.*]]: tensor<8x16xbf16>, %[[LABELS:.*]]: tensor<8xi32>) {
    // CHECK-NEXT: %[[N:.*]], %{{.*}} = moe.rms_norm %[[X]], @final_norm
    // CHECK-NEXT: %[[L:.*]] = moe.linear %[[N]], @lm_head : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
    // CHECK-NEXT: %[[LOSS:.*]], %{{.*}} = moe.cross_entropy %[[L]], %[[LABELS]] grad_scale 0.010416666666666666 :
    // CHECK-NEXT: moe.yield %[[LOSS]] : tensor<1xf32>{{$}}
    %loss = moe.lm_loss %x1, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

// Latent attention with and without a latent row for queries; a dense layer; a
// shared expert; scores kept by a sigmoid; a selection bias that is not
// trained. The model may say its tokens when the layout agrees.

#lora = #moe.mla<heads = 2, q_lora_rank = 6, kv_lora_rank = 5, nope_dim = 8, rope_dim = 4, v_dim = 3, softmax_scale = 0.25, rotary = #moe.rotary<dim = 4, interleaved = true>>
#direct = #moe.mla<heads = 2, kv_lora_rank = 5, nope_dim = 8, rope_dim = 4, v_dim = 3, softmax_scale = 0.25, rotary = #moe.rotary<dim = 4, interleaved = true>>
#experts = #moe.experts<count = 4, intermediate = 6, shared_intermediate = 10, routing = #moe.routing<top_k = 3, scoring = sigmoid, normalize = true, groups = 2, top_groups = 2, group_score = top2_sum, scale = 2.5>, correction_bias = true>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 4, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>

// 24 balanced rows; with one expert a rank, a token comes at most once, so that
// 8 tokens of four ranks bring at most 32.
// CHECK: #[[$ROWS:.*]] = #moe.rows<balanced = 24, capacity = 30>
// ROUND: #moe.rows<balanced = 24, capacity = 32>
// ONE: #moe.rows<balanced = 24, capacity = 24>
// MOST: #moe.rows<balanced = 24, capacity = 32>

// CHECK-LABEL: module @mla
module @mla attributes {pipe.layout = #layout} {
  moe.model @model architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xf32>

    // CHECK: moe.parameter @layers.0.attention.q_down : tensor<6x16xf32>
    // CHECK: moe.parameter @layers.0.attention.q_down_norm : tensor<6xf32> dense #moe.initializer<ones> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.q_up : tensor<24x6xf32>
    // CHECK: moe.parameter @layers.0.attention.kv_down : tensor<5x16xf32>
    // CHECK: moe.parameter @layers.0.attention.k_rope : tensor<4x16xf32>
    // CHECK: moe.parameter @layers.0.attention.kv_down_norm : tensor<5xf32>
    // CHECK: moe.parameter @layers.0.attention.k_up : tensor<16x5xf32>
    // CHECK: moe.parameter @layers.0.attention.v_up : tensor<6x5xf32>
    // CHECK: moe.parameter @layers.0.attention.o_proj : tensor<16x6xf32>
    // CHECK: moe.parameter @layers.0.mlp.gate_up : tensor<40x16xf32>
    // CHECK: moe.parameter @layers.0.mlp.down : tensor<16x20xf32>
    // CHECK: moe.block @layers.0
    // CHECK: %[[N:.*]], %{{.*}} = moe.rms_norm %{{.*}}, @layers.0.input_norm
    // CHECK-NEXT: %[[QD:.*]] = moe.linear %[[N]], @layers.0.attention.q_down
    // CHECK-NEXT: %[[QDN:.*]], %{{.*}} = moe.rms_norm %[[QD]], @layers.0.attention.q_down_norm
    // CHECK-NEXT: %[[Q:.*]] = moe.linear %[[QDN]], @layers.0.attention.q_up
    // Behind the columns without a rotation.
    // CHECK-NEXT: %[[QR:.*]] = moe.rope %[[Q]] heads 2 sequence 8 rotary <begin = 8, dim = 4, interleaved = true>
    // CHECK-NEXT: %[[KVD:.*]] = moe.linear %[[N]], @layers.0.attention.kv_down
    // CHECK-NEXT: %[[PE:.*]] = moe.linear %[[N]], @layers.0.attention.k_rope : {{.*}} -> tensor<8x4xf32>
    // CHECK-NEXT: %[[LATENT:.*]], %{{.*}} = moe.rms_norm %[[KVD]], @layers.0.attention.kv_down_norm
    // CHECK-NEXT: %[[NOPE:.*]] = moe.linear %[[LATENT]], @layers.0.attention.k_up
    // CHECK-NEXT: %[[V:.*]] = moe.linear %[[LATENT]], @layers.0.attention.v_up
    // CHECK-NEXT: %[[K:.*]] = moe.mla_key %[[NOPE]], %[[PE]] heads 2 sequence 8 rotary <dim = 4, interleaved = true> : {{.*}} -> tensor<8x24xf32>
    // CHECK-NEXT: %[[A:.*]], %{{.*}} = moe.attention %[[QR]], %[[K]], %[[V]] heads 2 kv_heads 2 qk_dim 12 v_dim 3 sequence 8 scale 0.25 : {{.*}} -> (tensor<8x6xf32>, tensor<2x8xf32>)
    // CHECK-NEXT: moe.linear %[[A]], @layers.0.attention.o_proj
    // CHECK: %[[N2:.*]], %{{.*}} = moe.rms_norm %{{.*}}, @layers.0.post_norm
    // CHECK-NEXT: %[[FC1:.*]] = moe.linear %[[N2]], @layers.0.mlp.gate_up
    // CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] activation <> : (tensor<8x40xf32>) -> tensor<8x20xf32>
    // CHECK-NEXT: moe.linear %[[ACT]], @layers.0.mlp.down
    %x1 = moe.decoder_layer %x0 layer 0 attention(#lora) ffn(#moe.dense<intermediate = 20>) : tensor<8x16xf32>

    // CHECK-NOT: @layers.1.attention.q_down
    // CHECK: moe.parameter @layers.1.attention.q_proj : tensor<24x16xf32>
    // CHECK: moe.parameter @layers.1.moe.correction : tensor<4xf32> dense #moe.initializer<zeros> {decay = false, trainable = false}
    // CHECK: moe.parameter @layers.1.moe.experts.gate_up : tensor<1x12x16xf32> expert
    // CHECK: moe.parameter @layers.1.moe.experts.down : tensor<1x16x6xf32> expert
    // CHECK: moe.parameter @layers.1.moe.shared.gate_up : tensor<20x16xf32> dense
    // CHECK: moe.parameter @layers.1.moe.shared.down : tensor<16x10xf32> dense
    // CHECK: moe.block @layers.1
    // CHECK: %[[N:.*]], %{{.*}} = moe.rms_norm %{{.*}}, @layers.1.input_norm
    // CHECK-NEXT: %[[Q:.*]] = moe.linear %[[N]], @layers.1.attention.q_proj
    // CHECK-NEXT: moe.rope %[[Q]]
    // CHECK: %[[MIDDLE:.*]] = moe.add
    // CHECK-NEXT: %[[N2:.*]], %{{.*}} = moe.rms_norm %[[MIDDLE]], @layers.1.post_norm
    // CHECK: moe.route %{{.*}} correction @layers.1.moe.correction routing <top_k = 3, scoring = sigmoid, normalize = true, groups = 2, top_groups = 2, group_score = top2_sum, scale = 2.5>
    // CHECK-SAME: -> (tensor<8x3xf32>, tensor<8x3xi32>, tensor<8x3xf32>)
    // CHECK: moe.dispatch %[[N2]], {{.*}} top_k 3 experts 4 ranks 4 capacity 30 groups 2 top_groups 2 {{.*}} -> (tensor<?x16xf32, #[[$ROWS]]>,
    // CHECK: %[[ROUTED:.*]] = moe.combine
    // CHECK-NEXT: %[[FC1:.*]] = moe.linear %[[N2]], @layers.1.moe.shared.gate_up
    // CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] activation <>
    // CHECK-NEXT: %[[SHARED:.*]] = moe.linear %[[ACT]], @layers.1.moe.shared.down
    // CHECK-NEXT: %[[SUM:.*]] = moe.add %[[ROUTED]], %[[SHARED]]
    // CHECK-NEXT: moe.add %[[MIDDLE]], %[[SUM]]
    %x2 = moe.decoder_layer %x1 layer 1 attention(#direct) ffn(#experts) : tensor<8x16xf32>
    %loss = moe.lm_loss %x2, %labels : (tensor<8x16xf32>, tensor<8xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

// Biases everywhere, attention sinks, a window, and a norm of full rows; sums of
// 64-bit storage are 64-bit; a softmax that is not normalized keeps all scores.

#gqa = #moe.gqa<heads = 4, kv_heads = 2, head_dim = 8, qkv_bias = true, out_bias = true, qk_norm = full, sinks = true, window = 3, softmax_scale = 0.5, rotary = #moe.rotary<dim = 8, yarn_factor = 32.0, yarn_original_length = 4096>>
#experts = #moe.experts<count = 4, intermediate = 6, routing = #moe.routing<top_k = 2, scoring = softmax>, router_bias = true, expert_bias = true, activation = #moe.swiglu<limit = 7.0, alpha = 1.702, up_offset = 1.0>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>

// One expert rank gets every row, whatever the routing: no room is needed.
// CHECK: #[[$ROWS:.*]] = #moe.rows<balanced = 16, capacity = 16>
// MOST: #moe.rows<balanced = 16, capacity = 16>

// CHECK-LABEL: module @biases
module @biases attributes {pipe.layout = #layout} {
  moe.model @model architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xf64>
    // CHECK: moe.parameter @layers.0.attention.q_bias : tensor<32xf64> dense #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.k_bias : tensor<16xf64> dense #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.v_bias : tensor<16xf64> dense #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.q_norm : tensor<32xf64>
    // CHECK: moe.parameter @layers.0.attention.k_norm : tensor<16xf64>
    // CHECK: moe.parameter @layers.0.attention.sinks : tensor<4xf64> dense #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.attention.o_bias : tensor<16xf64> dense #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.moe.router_bias : tensor<4xf64> dense #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.moe.experts.gate_up_bias : tensor<4x12xf64> expert #moe.initializer<zeros> {decay = false}
    // CHECK: moe.parameter @layers.0.moe.experts.down_bias : tensor<4x16xf64> expert #moe.initializer<zeros> {decay = false}
    // CHECK: moe.block @layers.0
    // CHECK: moe.linear %{{.*}}, @layers.0.attention.q_proj bias @layers.0.attention.q_bias
    // CHECK-NEXT: moe.linear %{{.*}}, @layers.0.attention.k_proj bias @layers.0.attention.k_bias
    // CHECK-NEXT: moe.linear %{{.*}}, @layers.0.attention.v_proj bias @layers.0.attention.v_bias
    // CHECK-NEXT: moe.rms_norm %{{.*}}, @layers.0.attention.q_norm epsilon 1.0e-06 : (tensor<8x32xf64>) -> (tensor<8x32xf64>, tensor<8x1xf64>)
    // CHECK-NEXT: moe.rms_norm %{{.*}}, @layers.0.attention.k_norm epsilon 1.0e-06 :
    // CHECK-NEXT: moe.rope {{.*}} rotary <dim = 8, yarn_factor = 32.0, yarn_original_length = 4096>
    // CHECK: moe.attention {{.*}} sinks @layers.0.attention.sinks heads 4 kv_heads 2 qk_dim 8 v_dim 8 sequence 8 scale 0.5 window 3 : {{.*}} tensor<4x8xf64>)
    // CHECK-NEXT: moe.linear %{{.*}}, @layers.0.attention.o_proj bias @layers.0.attention.o_bias
    // CHECK: moe.linear %{{.*}}, @layers.0.moe.router bias @layers.0.moe.router_bias : (tensor<8x16xf64>) -> tensor<8x4xf64>
    // CHECK-NEXT: moe.route {{.*}} -> (tensor<8x2xf64>, tensor<8x2xi32>, tensor<8x4xf64>)
    // CHECK-NEXT: %[[R:.*]], %[[RP:.*]], %[[COUNTS:.*]], %{{.*}} = moe.dispatch {{.*}} tensor<?xf64, #[[$ROWS]]>
    // CHECK-NEXT: %[[FC1:.*]] = moe.grouped_linear %[[R]], %[[COUNTS]], @layers.0.moe.experts.gate_up bias @layers.0.moe.experts.gate_up_bias :
    // CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] scale %[[RP]] counts %[[COUNTS]] activation <limit = 7.0, alpha = 1.702, up_offset = 1.0>
    // The probability is in the activation, but not yet in the second bias.
    // CHECK-NEXT: moe.grouped_linear %[[ACT]], %[[COUNTS]], @layers.0.moe.experts.down bias @layers.0.moe.experts.down_bias scale %[[RP]] :
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#experts) : tensor<?x16xf64>
    // CHECK: moe.cross_entropy {{.*}} grad_scale 0.125 : (tensor<8x32xf64>, tensor<8xi32>) -> (tensor<1xf64>, tensor<8xf64>)
    %loss = moe.lm_loss %x1, %labels : (tensor<?x16xf64>, tensor<?xi32>) -> tensor<1xf64>
    moe.yield %loss : tensor<1xf64>
  }
}
