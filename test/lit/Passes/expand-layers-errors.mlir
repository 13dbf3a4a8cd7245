// RUN: moe-opt %s --moe-expand-layers --split-input-file --verify-diagnostics
// RUN: not moe-opt %S/expand-layers.mlir --moe-expand-layers=capacity-factor=0.5 --split-input-file 2>&1 | FileCheck %s
// RUN: not moe-opt %S/expand-layers.mlir --moe-expand-layers=capacity-factor=nan --split-input-file 2>&1 | FileCheck %s

// RUN: not moe-opt %S/expand-layers.mlir --moe-expand-layers=mtp-weight=0 --split-input-file 2>&1 | FileCheck %s --check-prefix=WEIGHT
// WEIGHT: error: mtp-weight must be above 0; is 0

// CHECK: error: capacity-factor must be at least 1, or 0 for the most that routing can produce; is

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
// expected-error @below {{holds 0 moe.model ops; one is needed}}
module attributes {pipe.layout = #layout} {}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
// expected-error @below {{holds 2 moe.model ops; one is needed}}
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %loss = moe.lm_loss %x0, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
  moe.model @b architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %loss = moe.lm_loss %x0, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

// expected-error @below {{needs the attribute 'pipe.layout' (#pipe.layout<...>)}}
module {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %loss = moe.lm_loss %x0, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#experts = #moe.experts<count = 5, intermediate = 6, routing = #moe.routing<top_k = 2, scoring = softmax>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    // expected-error @below {{has 5 experts, which expert parallelism over 2 ranks does not divide}}
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#experts) : tensor<?x16xbf16>
    %loss = moe.lm_loss %x1, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    // expected-error @below {{ties the head to the embedding, which cannot be expanded}}
    %loss = moe.lm_loss %x0, %labels {tied = true} : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>
    // expected-error @below {{does not take the result of the op before it}}
    %x2 = moe.mtp_layer %x0, %tokens layer 1 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>, tensor<?xi32>
    %loss = moe.lm_loss %x1, %labels mtp(%x2) : (tensor<?x16xbf16>, tensor<?xi32>, tensor<?x16xbf16>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>
    %x2 = moe.mtp_layer %x1, %tokens layer 1 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>, tensor<?xi32>
    // expected-error @below {{does not take the results of the moe.mtp_layer ops before it, in their order}}
    %loss = moe.lm_loss %x1, %labels mtp(%x2, %x2) : (tensor<?x16xbf16>, tensor<?xi32>, tensor<?x16xbf16>, tensor<?x16xbf16>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %x1 = moe.mtp_layer %x0, %tokens layer 0 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>, tensor<?xi32>
    // expected-error @below {{comes behind a moe.mtp_layer}}
    %x2 = moe.decoder_layer %x1 layer 1 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>
    %loss = moe.lm_loss %x2, %labels mtp(%x1) : (tensor<?x16xbf16>, tensor<?xi32>, tensor<?x16xbf16>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

// The expansion joins layers in program order.

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>
    // expected-error @below {{does not take the result of the op before it}}
    %x2 = moe.decoder_layer %x0 layer 1 attention(#gqa) ffn(#moe.dense<intermediate = 6>) : tensor<?x16xbf16>
    %loss = moe.lm_loss %x2, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    // expected-error @below {{takes tokens for labels or labels for tokens}}
    %loss = moe.lm_loss %x0, %tokens : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{takes 4 tokens, but a microbatch of the layout has 8}}
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<4xi32>, %labels: tensor<4xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<4xi32>) -> tensor<4x16xbf16>
    %loss = moe.lm_loss %x0, %labels : (tensor<4x16xbf16>, tensor<4xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 1, sequence_length = 8>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{has initializer_range 0.000000e+00; must be above 0}}
  moe.model @a architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.0
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %loss = moe.lm_loss %x0, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}
