// RUN: moe-opt %s --pipe-partition-stages --split-input-file --verify-diagnostics

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{holds no moe.block; run moe-expand-layers and moe-differentiate first}}
module attributes {pipe.layout = #layout} {}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{'moe.block' op is not differentiated; run moe-differentiate first}}
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
}

// -----

// Half the way is not enough.

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{'moe.block' op is not differentiated; run moe-differentiate first}}
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
}

// -----

// Only decoder blocks count.

#layout = #pipe.layout<pipeline_ranks = 2, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
// expected-error @below {{has 1 decoder layers for 2 stages (2 pipeline ranks, 1 each); every stage needs a layer of its own}}
module attributes {pipe.layout = #layout} {
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
  moe.block @other mtp inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
}

// -----

// expected-error @below {{needs the attribute 'pipe.layout' (#pipe.layout<...>)}}
module {
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{has 2 hidden outputs; stages pass on one}}
  moe.block @layers.0 decoder inputs(hidden) outputs(hidden, hidden)
  forward(%x: tensor<8x16xbf16>) { moe.yield %x, %x : tensor<8x16xbf16>, tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>, %e: tensor<8x16xbf16>) { moe.yield %d : tensor<8x16xbf16> }
  weight_grad() { moe.yield }
}

// -----

#layout = #pipe.layout<pipeline_ranks = 1, expert_ranks = 1, data_ranks = 1, tensor_ranks = 1, context_ranks = 1, microbatches = 1, microbatch_size = 2, sequence_length = 4>
module attributes {pipe.layout = #layout} {
  // expected-error @below {{has 2 hidden inputs; stages pass on one}}
  moe.block @layers.0 decoder inputs(hidden, hidden) outputs(hidden)
  forward(%x: tensor<8x16xbf16>, %y: tensor<8x16xbf16>) { moe.yield %x : tensor<8x16xbf16> }
  backward(%d: tensor<8x16xbf16>) { moe.yield %d, %d : tensor<8x16xbf16>, tensor<8x16xbf16> }
  weight_grad() { moe.yield }
}
