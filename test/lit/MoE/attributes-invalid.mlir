// RUN: moe-opt %s --split-input-file --verify-diagnostics

// expected-error @below {{`capacity` = 8 must be at least `balanced` = 16}}
module attributes {moe.a = #moe.rows<balanced = 16, capacity = 8>} {}

// -----

// expected-error @below {{`balanced` must not be negative, is -1}}
module attributes {moe.a = #moe.rows<balanced = -1, capacity = 8>} {}

// -----

// expected-error @below {{`capacity` must be positive, is 0}}
module attributes {moe.a = #moe.rows<balanced = 0, capacity = 0>} {}

// -----

// expected-error @below {{a tensor with #moe.rows must have a dynamic leading dimension}}
module attributes {moe.a = tensor<8x4xbf16, #moe.rows<balanced = 8, capacity = 8>>} {}

// -----

// expected-error @below {{a tensor with #moe.rows must have static dimensions behind the leading one}}
module attributes {moe.a = tensor<?x?xbf16, #moe.rows<balanced = 8, capacity = 8>>} {}

// -----

// expected-error @below {{tokens of a handle must be positive, is 0}}
module attributes {moe.a = !moe.handle<tokens = 0, top_k = 2, experts = 4>} {}

// -----

// expected-error @below {{experts of a handle must be positive, is 0}}
module attributes {moe.a = !moe.handle<tokens = 1, top_k = 2, experts = 0>} {}

// -----

// expected-error @below {{top_k of a handle must lie in [1, experts = 4], is 5}}
module attributes {moe.a = !moe.handle<tokens = 1, top_k = 5, experts = 4>} {}

// -----

// expected-error @below {{`standard_deviation` must be a positive number}}
module attributes {moe.a = #moe.initializer<normal>} {}

// -----

// expected-error @below {{`standard_deviation` belongs to `normal` only}}
module attributes {moe.a = #moe.initializer<ones, 0.5>} {}

// -----

// expected-error @below {{`begin` must not be negative, is -2}}
module attributes {moe.a = #moe.rotary<begin = -2, dim = 4>} {}

// -----

// expected-error @below {{`dim` must be even, is 5}}
module attributes {moe.a = #moe.rotary<dim = 5>} {}

// -----

// expected-error @below {{`theta` must be a positive number, is -1.0}}
module attributes {moe.a = #moe.rotary<dim = 4, theta = -1.0>} {}

// -----

// expected-error @below {{`yarn_factor` must be a number of 1 or more, is 0.5}}
module attributes {moe.a = #moe.rotary<dim = 4, yarn_factor = 0.5>} {}

// -----

// expected-error @below {{`yarn_original_length` must be positive, is 0}}
module attributes {moe.a = #moe.rotary<dim = 4, yarn_factor = 4.0>} {}

// -----

// expected-error @below {{expected 'false' or 'true'}}
// expected-error @below {{failed to parse MoE_RotaryAttr parameter 'interleaved'}}
module attributes {moe.a = #moe.rotary<dim = 4, interleaved = 1>} {}

// -----

// expected-error @below {{`top_k` must be positive, is 0}}
module attributes {moe.a = #moe.routing<top_k = 0, scoring = softmax>} {}

// -----

// expected-error @below {{`top_groups` = 3 must not exceed `groups` = 2}}
module attributes {moe.a = #moe.routing<top_k = 1, scoring = softmax, groups = 2, top_groups = 3>} {}

// -----

// expected-error @below {{`limit` must be a number of 0 or more, is -7.0}}
module attributes {moe.a = #moe.swiglu<limit = -7.0>} {}

// -----

// expected-error @below {{`up_offset` must be a finite number, is 0x7FF0000000000000}}
module attributes {moe.a = #moe.swiglu<up_offset = 0x7FF0000000000000>} {}

// -----

// expected-error @below {{`heads` = 6 must be a multiple of `kv_heads` = 4}}
module attributes {moe.a = #moe.gqa<heads = 6, kv_heads = 4, head_dim = 8, softmax_scale = 1.0, rotary = <dim = 8>>} {}

// -----

// expected-error @below {{`rotary` ends at column 12 of a head with `head_dim` = 8}}
module attributes {moe.a = #moe.gqa<heads = 4, kv_heads = 4, head_dim = 8, softmax_scale = 1.0, rotary = <begin = 4, dim = 8>>} {}

// -----

// expected-error @below {{`rotary` must cover all of `rope_dim` = 8 columns, covers 4 from 0}}
module attributes {moe.a = #moe.mla<heads = 4, kv_lora_rank = 8, nope_dim = 8, rope_dim = 8, v_dim = 8, softmax_scale = 1.0, rotary = <dim = 4>>} {}

// -----

// expected-error @below {{`intermediate` must be positive, is 0}}
module attributes {moe.a = #moe.dense<intermediate = 0>} {}

// -----

// expected-error @below {{`routing` has top_k = 8, more than `count` = 4}}
module attributes {moe.a = #moe.experts<count = 4, intermediate = 8, routing = <top_k = 8, scoring = softmax>>} {}

// -----

// expected-error @below {{`count` = 8 must be a multiple of `groups` = 3}}
module attributes {moe.a = #moe.experts<count = 8, intermediate = 8, routing = <top_k = 1, scoring = softmax, groups = 3>>} {}
