// RUN: moe-opt %s --split-input-file --verify-diagnostics

func.func @f(%t: tensor<8xi32>) {
  // expected-error @below {{`table` @missing is not a moe.parameter}}
  %0 = moe.embedding %t, @missing : (tensor<8xi32>) -> tensor<8x16xbf16>
  return
}

// -----

// expected-note @below {{declared here}}
moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%t: tensor<8xi32>) {
  // expected-error @below {{`table` @w must have shape [?, 64] of 'bf16', has type 'tensor<32x16xbf16>'}}
  %0 = moe.embedding %t, @w : (tensor<8xi32>) -> tensor<8x64xbf16>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%t: tensor<8xi32>) {
  // expected-error @below {{`out` of type 'tensor<4x16xbf16>' must have as many rows as `tokens` of type 'tensor<8xi32>'}}
  %0 = moe.embedding %t, @w : (tensor<8xi32>) -> tensor<4x16xbf16>
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{width of x = 16 must be a multiple of `groups` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.rms_norm %x, @norm epsilon 1.0e-6 groups 3
      : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x3xf32>)
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xf64>) {
  // expected-error @below {{inferred type(s) 'tensor<8x16xf64>', 'tensor<8x1xf64>' are incompatible with return type(s) of operation 'tensor<8x16xf64>', 'tensor<8x1xf32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.rms_norm %x, @norm epsilon 1.0e-6
      : (tensor<8x16xf64>) -> (tensor<8x16xf64>, tensor<8x1xf32>)
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x?xbf16>) {
  // expected-error @below {{operand #0 must be statically shaped 2-D tensor (activations)}}
  %0, %1 = moe.rms_norm %x, @norm epsilon 1.0e-6
      : (tensor<8x?xbf16>) -> (tensor<8x?xbf16>, tensor<8x1xf32>)
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>, %i: tensor<8x2xf32>) {
  // expected-error @below {{`inverse` must have type 'tensor<8x1xf32>', has 'tensor<8x2xf32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.rms_norm_input_grad %x, %x, %i, @norm
      : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x2xf32>) -> tensor<8x16xbf16>
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>, %d: tensor<8x8xbf16>, %i: tensor<8x1xf32>) {
  // expected-error @below {{`d_out` must have type 'tensor<8x16xbf16>', has 'tensor<8x8xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.rms_norm_input_grad %d, %x, %i, @norm
      : (tensor<8x8xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>) -> tensor<8x16xbf16>
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>, %i: tensor<8x1xf32>) {
  // expected-error @below {{width of x = 16 must be a multiple of `groups` = 5}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.rms_norm_input_grad %x, %x, %i, @norm groups 5
      : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>) -> tensor<8x16xbf16>
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>, %i: tensor<8x1xf32>) {
  // expected-error @below {{`inverse` must have type 'tensor<8x2xf32>', has 'tensor<8x1xf32>'}}
  moe.rms_norm_weight_grad %x, %x, %i, @norm groups 2
      : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>, %i: tensor<8x1xf32>) {
  // expected-error @below {{width of x = 16 must be a multiple of `groups` = 5}}
  moe.rms_norm_weight_grad %x, %x, %i, @norm groups 5
      : tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  return
}

// -----

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%x: tensor<8x16xbf16>, %d: tensor<4x16xbf16>, %i: tensor<8x1xf32>) {
  // expected-error @below {{`d_out` must have type 'tensor<8x16xbf16>', has 'tensor<4x16xbf16>'}}
  moe.rms_norm_weight_grad %d, %x, %i, @norm : tensor<4x16xbf16>, tensor<8x16xbf16>, tensor<8x1xf32>
  return
}

// -----

// expected-note @below {{declared here}}
moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`weight` @w must have shape [16, 16] of 'bf16', has type 'tensor<32x16xbf16>'}}
  %0 = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  return
}

// -----

// expected-note @below {{declared here}}
moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`bias` @w must have shape [32] of 'bf16', has type 'tensor<32x16xbf16>'}}
  %0 = moe.linear %x, @w bias @w : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`out` of type 'tensor<4x32xbf16>' must have as many rows as `x`}}
  %0 = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<4x32xbf16>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`out` cannot have elements of type 'f64' when those of `x` have type 'bf16'}}
  %0 = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x32xf64>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%d: tensor<8x32xbf16>) {
  // expected-error @below {{`d_out` cannot have elements of type 'bf16' when those of `d_x` have type 'f32'}}
  %0 = moe.linear_input_grad %d, @w : (tensor<8x32xbf16>) -> tensor<8x16xf32>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%d: tensor<8x32xbf16>) {
  // expected-error @below {{`d_x` of type 'tensor<4x16xbf16>' must have as many rows as `d_out`}}
  %0 = moe.linear_input_grad %d, @w : (tensor<8x32xbf16>) -> tensor<4x16xbf16>
  return
}

// -----

// expected-note @below {{declared here}}
moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%d: tensor<8x32xbf16>) {
  // expected-error @below {{`weight` @w must have shape [32, 8] of 'bf16'}}
  %0 = moe.linear_input_grad %d, @w : (tensor<8x32xbf16>) -> tensor<8x8xbf16>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%d: tensor<4x32xbf16>, %x: tensor<8x16xbf16>) {
  // expected-error @below {{`d_out` of type 'tensor<4x32xbf16>' must have as many rows as `x`}}
  moe.linear_weight_grad %d, %x, @w : tensor<4x32xbf16>, tensor<8x16xbf16>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%d: tensor<8x32xf64>, %x: tensor<8x16xbf16>) {
  // expected-error @below {{`d_out` cannot have elements of type 'f64' when those of `x` have type 'bf16'}}
  moe.linear_weight_grad %d, %x, @w : tensor<8x32xf64>, tensor<8x16xbf16>
  return
}

// -----

moe.parameter @w : tensor<32x16xbf16> dense #moe.initializer<zeros>
func.func @f(%d: tensor<4x16xbf16>, %t: tensor<8xi32>) {
  // expected-error @below {{`d_out` of type 'tensor<4x16xbf16>' must have as many rows as `tokens`}}
  moe.embedding_weight_grad %d, %t, @w : tensor<4x16xbf16>, tensor<8xi32>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{width of x = 16 must be a multiple of `heads` = 3}}
  %0 = moe.rope %x heads 3 sequence 4 rotary <dim = 4> : tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{rows of x = 8 must be a multiple of `sequence_length` = 3}}
  %0 = moe.rope %x heads 2 sequence 3 rotary <dim = 4> : tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`rotary` ends at column 10 of heads with 8 columns}}
  %0 = moe.rope %x heads 2 sequence 4 rotary <begin = 6, dim = 4> : tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{attribute 'heads' failed to satisfy constraint: 64-bit integer attribute whose value is positive}}
  %0 = moe.rope %x heads 0 sequence 4 rotary <dim = 4> : tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{width of d_out = 16 must be a multiple of `heads` = 3}}
  %0 = moe.rope_input_grad %x heads 3 sequence 4 rotary <dim = 4> : tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{rows of d_out = 8 must be a multiple of `sequence_length` = 5}}
  %0 = moe.rope_input_grad %x heads 2 sequence 5 rotary <dim = 4> : tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %pe: tensor<8x4xbf16>) {
  // expected-error @below {{width of nope = 16 must be a multiple of `heads` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.mla_key %x, %pe heads 3 sequence 4 rotary <dim = 4>
      : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x28xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %pe: tensor<8x4xbf16>) {
  // expected-error @below {{rows of nope = 8 must be a multiple of `sequence_length` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.mla_key %x, %pe heads 2 sequence 3 rotary <dim = 4>
      : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x24xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %pe: tensor<8x4xbf16>) {
  // expected-error @below {{`rotary` must begin at column 0 of pe}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.mla_key %x, %pe heads 2 sequence 4 rotary <begin = 2, dim = 4>
      : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x24xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %pe: tensor<8x4xbf16>) {
  // expected-error @below {{`pe` must have type 'tensor<8x2xbf16>', has 'tensor<8x4xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.mla_key %x, %pe heads 2 sequence 4 rotary <dim = 2>
      : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x24xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{width of d_key = 16 must be a multiple of `heads` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.mla_key_input_grad %x heads 3 sequence 4 rotary <dim = 4>
      : (tensor<8x16xbf16>) -> (tensor<8x4xbf16>, tensor<8x4xbf16>)
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{rows of d_key = 8 must be a multiple of `sequence_length` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.mla_key_input_grad %x heads 2 sequence 3 rotary <dim = 4>
      : (tensor<8x16xbf16>) -> (tensor<8x8xbf16>, tensor<8x4xbf16>)
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`rotary` must begin at column 0 of pe}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.mla_key_input_grad %x heads 2 sequence 4 rotary <begin = 2, dim = 4>
      : (tensor<8x16xbf16>) -> (tensor<8x8xbf16>, tensor<8x4xbf16>)
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`d_key` has no columns besides the 8 rotated ones of each head}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.mla_key_input_grad %x heads 2 sequence 4 rotary <dim = 8>
      : (tensor<8x16xbf16>) -> (tensor<8x8xbf16>, tensor<8x8xbf16>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{heads = 2 must be a multiple of `kv_heads` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.attention %q, %k, %v heads 2 kv_heads 3 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{rows of q = 8 must be a multiple of `sequence_length` = 5}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.attention %q, %k, %v heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 5 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{`q` must have type 'tensor<8x16xbf16>', has 'tensor<8x32xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.attention %q, %k, %v heads 2 kv_heads 1 qk_dim 8 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{`k` must have type 'tensor<8x32xbf16>', has 'tensor<8x16xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.attention %q, %k, %v heads 2 kv_heads 2 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{`v` must have type 'tensor<8x8xbf16>', has 'tensor<8x16xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.attention %q, %k, %v heads 2 kv_heads 1 qk_dim 16 v_dim 8 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{attribute 'window' failed to satisfy constraint: 64-bit integer attribute whose value is non-negative}}
  %0, %1 = moe.attention %q, %k, %v heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 window -1
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

// expected-note @below {{declared here}}
moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>) {
  // expected-error @below {{`sinks` @norm must have shape [2] of 'bf16', has type 'tensor<16xbf16>'}}
  %0, %1 = moe.attention %q, %k, %v sinks @norm heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<2x8xf32>) {
  // expected-error @below {{`d_out` must have type 'tensor<8x32xbf16>', has 'tensor<8x16xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2 = moe.attention_input_grad %k, %q, %k, %v, %q, %l heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>) -> (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<2x8xf32>) {
  // expected-error @below {{`out` must have type 'tensor<8x32xbf16>', has 'tensor<8x16xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2 = moe.attention_input_grad %q, %q, %k, %v, %k, %l heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<2x8xf32>) -> (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
  return
}

// -----

func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<8x2xf32>) {
  // expected-error @below {{`log_sum_exp` must have type 'tensor<2x8xf32>', has 'tensor<8x2xf32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2 = moe.attention_input_grad %q, %q, %k, %v, %q, %l heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : (tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<8x2xf32>) -> (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>)
  return
}

// -----

moe.parameter @s : tensor<2xbf16> dense #moe.initializer<zeros>
func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<2x8xf32>) {
  // expected-error @below {{heads = 2 must be a multiple of `kv_heads` = 3}}
  moe.attention_sink_grad %q, %q, %l, @s heads 2 kv_heads 3 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
  return
}

// -----

moe.parameter @s : tensor<2xbf16> dense #moe.initializer<zeros>
func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<2x8xf32>) {
  // expected-error @below {{rows of out = 8 must be a multiple of `sequence_length` = 3}}
  moe.attention_sink_grad %q, %q, %l, @s heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 3 scale 0.25
      : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
  return
}

// -----

moe.parameter @s : tensor<2xbf16> dense #moe.initializer<zeros>
func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<2x8xf32>) {
  // expected-error @below {{`out` must have type 'tensor<8x16xbf16>', has 'tensor<8x32xbf16>'}}
  moe.attention_sink_grad %q, %q, %l, @s heads 2 kv_heads 1 qk_dim 16 v_dim 8 sequence 4 scale 0.25
      : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
  return
}

// -----

moe.parameter @s : tensor<2xbf16> dense #moe.initializer<zeros>
func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<2x8xf32>) {
  // expected-error @below {{`d_out` must have type 'tensor<8x32xbf16>', has 'tensor<8x16xbf16>'}}
  moe.attention_sink_grad %k, %q, %l, @s heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : tensor<8x16xbf16>, tensor<8x32xbf16>, tensor<2x8xf32>
  return
}

// -----

moe.parameter @s : tensor<2xbf16> dense #moe.initializer<zeros>
func.func @f(%q: tensor<8x32xbf16>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %l: tensor<8x2xf32>) {
  // expected-error @below {{`log_sum_exp` must have type 'tensor<2x8xf32>', has 'tensor<8x2xf32>'}}
  moe.attention_sink_grad %q, %q, %l, @s heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25
      : tensor<8x32xbf16>, tensor<8x32xbf16>, tensor<8x2xf32>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %y: tensor<8x8xbf16>) {
  // expected-error @below {{requires the same type for all operands and results}}
  %0 = "moe.add"(%x, %y) : (tensor<8x16xbf16>, tensor<8x8xbf16>) -> tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{has 'moe.in_place', which is a unit attribute of ops that may overwrite an operand}}
  %0 = moe.add %x, %x {moe.in_place} : tensor<8x16xbf16>
  return
}
