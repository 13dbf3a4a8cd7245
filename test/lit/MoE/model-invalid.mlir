// RUN: moe-opt %s --split-input-file --verify-diagnostics

// expected-error @below {{takes tokens and labels, two 1-D tensors of i32}}
moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  moe.yield %x : tensor<8x16xbf16>
}

// -----

// expected-error @below {{takes as many labels as tokens}}
moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<4xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  moe.yield %x : tensor<8x16xbf16>
}

// -----

// expected-error @below {{must end in a moe.yield of the loss alone, a tensor of one sum}}
moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  moe.yield %x : tensor<8x16xbf16>
}

// -----

moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  // expected-error @below {{has a hidden value of width 32, the model's is 16}}
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x32xbf16>
  %l = moe.lm_loss %x, %labels : (tensor<8x32xbf16>, tensor<8xi32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  // expected-error @below {{has a hidden value of width ?, the model's is 16}}
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x?xbf16>
  %l = moe.lm_loss %x, %labels : (tensor<8x?xbf16>, tensor<8xi32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  // expected-error @below {{has hidden type 'tensor<4x16xbf16>', but tokens of type 'tensor<8xi32>'}}
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<4x16xbf16>
  %l = moe.lm_loss %x, %labels : (tensor<4x16xbf16>, tensor<8xi32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 8, softmax_scale = 1.0, rotary = <dim = 8>>
// A layer's index is its place.
moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  // expected-error @below {{is layer 1, but layer 0 comes next}}
  %y = moe.decoder_layer %x layer 1 attention(#gqa) ffn(#moe.dense<intermediate = 8>) : tensor<8x16xbf16>
  %l = moe.lm_loss %y, %labels : (tensor<8x16xbf16>, tensor<8xi32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  // expected-error @below {{attribute 'attention' failed to satisfy constraint: #moe.gqa or #moe.mla}}
  %y = moe.decoder_layer %x layer 0 attention(#moe.swiglu<>) ffn(#moe.dense<intermediate = 8>) : tensor<8x16xbf16>
  %l = moe.lm_loss %y, %labels : (tensor<8x16xbf16>, tensor<8xi32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 8, softmax_scale = 1.0, rotary = <dim = 8>>
moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  // expected-error @below {{attribute 'ffn' failed to satisfy constraint: #moe.dense or #moe.experts}}
  %y = moe.mtp_layer %x, %tokens layer 0 attention(#gqa) ffn(1) : tensor<8x16xbf16>, tensor<8xi32>
  %l = moe.lm_loss %x, %labels : (tensor<8x16xbf16>, tensor<8xi32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 8, softmax_scale = 1.0, rotary = <dim = 8>>
moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  %x32 = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xf32>
  // expected-error @below {{has an mtp value of type 'tensor<8x16xf32>', but hidden type 'tensor<8x16xbf16>'}}
  %l = moe.lm_loss %x, %labels mtp(%x32) : (tensor<8x16xbf16>, tensor<8xi32>, tensor<8x16xf32>) -> tensor<1xf32>
  moe.yield %l : tensor<1xf32>
}

// -----

moe.model @m architecture "x" hidden 16 vocabulary 64 norm_epsilon 1.0e-6 initializer_range 0.02 (%tokens: tensor<8xi32>, %labels: tensor<8xi32>) {
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  // expected-error @below {{must yield a tensor of one sum, yields 'tensor<2xf32>'}}
  %l = moe.lm_loss %x, %labels : (tensor<8x16xbf16>, tensor<8xi32>) -> tensor<2xf32>
  moe.yield %l : tensor<2xf32>
}

// -----

func.func @outside(%tokens: tensor<8xi32>) -> tensor<8x16xbf16> {
  // expected-error @below {{'moe.input_embedding' op expects parent op 'moe.model'}}
  %x = moe.input_embedding %tokens : (tensor<8xi32>) -> tensor<8x16xbf16>
  return %x : tensor<8x16xbf16>
}
