// RUN: moe-opt %s --pass-pipeline='builtin.module(moe-differentiate)' --verify-roundtrip | FileCheck %s

// Of each op, what backward keeps is what the formula of its gradient needs.

moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones> {decay = false}
moe.parameter @w : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @v : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @table : tensor<32x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @gate_up : tensor<16x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @down : tensor<16x8xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @expert_gate_up : tensor<2x16x16xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @expert_down : tensor<2x16x8xbf16> expert #moe.initializer<normal, 0.02>
moe.parameter @expert_down_bias : tensor<2x16xbf16> expert #moe.initializer<zeros> {decay = false}
moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @sinks : tensor<2xbf16> dense #moe.initializer<zeros> {decay = false}

// A norm: its input and the inverse, not its output.
// CHECK-LABEL: moe.block @norm_only decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[N:.*]], %[[INVERSE:.*]] = moe.rms_norm %[[X]], @norm epsilon 1.0e-06
// CHECK-NEXT: moe.yield %[[N]] : tensor<8x16xbf16> saved(%[[X]], %[[INVERSE]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[INVERSE:.*]]: tensor<8x1xf32>) {
// CHECK-NEXT: %[[D1:.*]] = moe.rms_norm_input_grad %[[D]], %[[X]], %[[INVERSE]], @norm
// CHECK-NEXT: moe.yield %[[D1]] : tensor<8x16xbf16> saved(%[[D]], %[[X]], %[[INVERSE]] :
// CHECK: weight_grad(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[INVERSE:.*]]: tensor<8x1xf32>) {
// CHECK-NEXT: moe.rms_norm_weight_grad %[[D]], %[[X]], %[[INVERSE]], @norm
// CHECK-NEXT: moe.yield{{$}}
moe.block @norm_only decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %n, %inverse = moe.rms_norm %x, @norm epsilon 1.0e-6 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>)
  moe.yield %n : tensor<8x16xbf16>
}

// A linear: its input, which only the weight gradient reads and which passes
// backward on its way there.
// CHECK-LABEL: moe.block @linear_only decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[Y:.*]] = moe.linear %[[X]], @w
// CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16> saved(%[[X]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: %[[D1:.*]] = moe.linear_input_grad %[[D]], @w
// CHECK-NEXT: moe.yield %[[D1]] : tensor<8x16xbf16> saved(%[[D]], %[[X]] :
// CHECK: weight_grad(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[X]], @w
// CHECK-NEXT: moe.yield{{$}}
moe.block @linear_only decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %y = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}

// A dense network: the activation's input, and its output only because the
// second linear reads it.
// CHECK-LABEL: moe.block @dense decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[FC1:.*]] = moe.linear %[[X]], @gate_up
// CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] activation <>
// CHECK-NEXT: %[[Y:.*]] = moe.linear %[[ACT]], @down
// CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16> saved(%[[X]], %[[FC1]], %[[ACT]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[FC1:.*]]: tensor<8x16xbf16>, %[[ACT:.*]]: tensor<8x8xbf16>) {
// CHECK-NEXT: %[[D1:.*]] = moe.linear_input_grad %[[D]], @down
// CHECK-NEXT: %[[D2:.*]] = moe.swiglu_input_grad %[[D1]], %[[FC1]] activation <>
// CHECK-NEXT: %[[D3:.*]] = moe.linear_input_grad %[[D2]], @gate_up
// CHECK-NEXT: moe.yield %[[D3]] : tensor<8x16xbf16> saved(%[[D]], %[[ACT]], %[[D2]], %[[X]] :
// CHECK: weight_grad(%[[D:.*]]: tensor<8x16xbf16>, %[[ACT:.*]]: tensor<8x8xbf16>, %[[D2:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[ACT]], @down
// CHECK-NEXT: moe.linear_weight_grad %[[D2]], %[[X]], @gate_up
// CHECK-NEXT: moe.yield{{$}}
moe.block @dense decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %fc1 = moe.linear %x, @gate_up : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %act = moe.swiglu %fc1 activation <> : (tensor<8x16xbf16>) -> tensor<8x8xbf16>
  %y = moe.linear %act, @down : (tensor<8x8xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}

// Attention: queries, keys, values, output and log-sum-exp; the sink logits'
// gradient needs nothing more. A rotation keeps nothing.
// CHECK-LABEL: moe.block @attention decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[R:.*]] = moe.rope %[[X]] heads 2 sequence 4 rotary <dim = 8>
// CHECK-NEXT: %[[K:.*]] = moe.rope %[[X]] heads 2 sequence 4 rotary <dim = 4>
// CHECK-NEXT: %[[O:.*]], %[[LSE:.*]] = moe.attention %[[R]], %[[K]], %[[X]] sinks @sinks heads 2 kv_heads 2 qk_dim 8 v_dim 8 sequence 4 scale 0.25
// CHECK-NEXT: moe.yield %[[O]] : tensor<8x16xbf16> saved(%[[X]], %[[R]], %[[K]], %[[O]], %[[LSE]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[R:.*]]: tensor<8x16xbf16>, %[[K:.*]]: tensor<8x16xbf16>, %[[O:.*]]: tensor<8x16xbf16>, %[[LSE:.*]]: tensor<2x8xf32>) {
// CHECK-NEXT: %[[D_Q:.*]], %[[D_K:.*]], %[[D_V:.*]] = moe.attention_input_grad %[[D]], %[[R]], %[[K]], %[[X]], %[[O]], %[[LSE]] heads 2 kv_heads 2 qk_dim 8 v_dim 8 sequence 4 scale 0.25
// CHECK-NEXT: %[[D4:.*]] = moe.rope_input_grad %[[D_K]] heads 2 sequence 4 rotary <dim = 4>
// CHECK-NEXT: %[[D5:.*]] = moe.add %[[D_V]], %[[D4]]
// CHECK-NEXT: %[[D6:.*]] = moe.rope_input_grad %[[D_Q]] heads 2 sequence 4 rotary <dim = 8>
// CHECK-NEXT: %[[D7:.*]] = moe.add %[[D5]], %[[D6]]
// CHECK-NEXT: moe.yield %[[D7]] : tensor<8x16xbf16> saved(%[[D]], %[[O]], %[[LSE]] :
// CHECK: weight_grad(%[[D:.*]]: tensor<8x16xbf16>, %[[O:.*]]: tensor<8x16xbf16>, %[[LSE:.*]]: tensor<2x8xf32>) {
// CHECK-NEXT: moe.attention_sink_grad %[[D]], %[[O]], %[[LSE]], @sinks heads 2 kv_heads 2 qk_dim 8 v_dim 8 sequence 4 scale 0.25
// CHECK-NEXT: moe.yield{{$}}
moe.block @attention decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %r = moe.rope %x heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
  %k = moe.rope %x heads 2 sequence 4 rotary <dim = 4> : tensor<8x16xbf16>
  %o, %lse = moe.attention %r, %k, %x sinks @sinks heads 2 kv_heads 2 qk_dim 8 v_dim 8 sequence 4 scale 0.25
      : (tensor<8x16xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<2x8xf32>)
  moe.yield %o : tensor<8x16xbf16>
}

// A residual passes the gradient on as it is; two gradients of one value are
// added, the later op's first. Nothing is kept.
// CHECK-LABEL: moe.block @residual decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[A:.*]] = moe.rope %[[X]] heads 2 sequence 4 rotary <dim = 8>
// CHECK-NEXT: %[[B:.*]] = moe.rope %[[X]] heads 2 sequence 4 rotary <dim = 4>
// CHECK-NEXT: %[[C:.*]] = moe.add %[[A]], %[[B]]
// CHECK-NEXT: %[[Y:.*]] = moe.add %[[X]], %[[C]]
// CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16>{{$}}
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: %[[D1:.*]] = moe.rope_input_grad %[[D]] heads 2 sequence 4 rotary <dim = 4>
// CHECK-NEXT: %[[D2:.*]] = moe.add %[[D]], %[[D1]]
// CHECK-NEXT: %[[D3:.*]] = moe.rope_input_grad %[[D]] heads 2 sequence 4 rotary <dim = 8>
// CHECK-NEXT: %[[D4:.*]] = moe.add %[[D2]], %[[D3]]
// CHECK-NEXT: moe.yield %[[D4]] : tensor<8x16xbf16>{{$}}
// CHECK: weight_grad() {
// CHECK-NEXT: moe.yield{{$}}
moe.block @residual decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %a = moe.rope %x heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
  %b = moe.rope %x heads 2 sequence 4 rotary <dim = 4> : tensor<8x16xbf16>
  %c = moe.add %a, %b : tensor<8x16xbf16>
  %y = moe.add %x, %c : tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}

// The input itself leaves.
// CHECK-LABEL: moe.block @passthrough decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: moe.yield %[[X]] : tensor<8x16xbf16>{{$}}
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.yield %[[D]] : tensor<8x16xbf16>{{$}}
// CHECK: weight_grad() {
// CHECK-NEXT: moe.yield{{$}}
moe.block @passthrough decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}

// Both uses of one value count, also when both leave the block.
// CHECK-LABEL: moe.block @twice decoder inputs(hidden) outputs(hidden, hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[Y:.*]] = moe.rope %[[X]] heads 2 sequence 4 rotary <dim = 8>
// CHECK-NEXT: moe.yield %[[Y]], %[[Y]] : tensor<8x16xbf16>, tensor<8x16xbf16>{{$}}
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[D_OTHER:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: %[[D1:.*]] = moe.add %[[D]], %[[D_OTHER]]
// CHECK-NEXT: %[[D2:.*]] = moe.rope_input_grad %[[D1]] heads 2 sequence 4 rotary <dim = 8>
// CHECK-NEXT: moe.yield %[[D2]] : tensor<8x16xbf16>{{$}}
// CHECK: weight_grad() {
// CHECK-NEXT: moe.yield{{$}}
moe.block @twice decoder inputs(hidden) outputs(hidden, hidden)
forward(%x: tensor<8x16xbf16>) {
  %y = moe.rope %x heads 2 sequence 4 rotary <dim = 8> : tensor<8x16xbf16>
  moe.yield %y, %y : tensor<8x16xbf16>, tensor<8x16xbf16>
}

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>

// Experts: of the route its probabilities and choice (not the logits), of the
// exchange only the handle, of the activation its input, the scale of each row
// and the counts; the rows and the activation's output for the weight gradients.
// Neither the outputs of the experts nor what combine makes of them is kept.
// CHECK-LABEL: moe.block @experts decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[LOGITS:.*]] = moe.linear %[[X]], @router
// CHECK-NEXT: %[[P:.*]], %[[E:.*]] = moe.route %[[LOGITS]] routing <top_k = 2, scoring = softmax, normalize = true>
// CHECK-NEXT: %[[ROWS:.*]], %[[RP:.*]], %[[COUNTS:.*]], %[[HANDLE:.*]] = moe.dispatch %[[X]], %[[P]], %[[E]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: %[[FC1:.*]] = moe.grouped_linear %[[ROWS]], %[[COUNTS]], @expert_gate_up
// CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[FC1]] scale %[[RP]] counts %[[COUNTS]] activation <>
// CHECK-NEXT: %[[FC2:.*]] = moe.grouped_linear %[[ACT]], %[[COUNTS]], @expert_down bias @expert_down_bias scale %[[RP]]
// CHECK-NEXT: %[[Y:.*]] = moe.combine %[[FC2]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16> saved(%[[X]], %[[P]], %[[E]], %[[ROWS]], %[[RP]], %[[COUNTS]], %[[HANDLE]], %[[FC1]], %[[ACT]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[P:.*]]: tensor<8x2xf32>, %[[E:.*]]: tensor<8x2xi32>, %[[ROWS:.*]]: tensor<?x16xbf16, #rows>, %[[RP:.*]]: tensor<?xf32, #rows>, %[[COUNTS:.*]]: tensor<2xi32>, %[[HANDLE:.*]]: !moe.handle<tokens = 8, top_k = 2, experts = 4>, %[[FC1:.*]]: tensor<?x16xbf16, #rows>, %[[ACT:.*]]: tensor<?x8xbf16, #rows>) {
// CHECK-NEXT: %[[D1:.*]] = moe.combine_input_grad %[[D]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: %[[D2:.*]] = moe.grouped_linear_input_grad %[[D1]], %[[COUNTS]], @expert_down
// CHECK-NEXT: %[[D3:.*]] = moe.grouped_linear_bias_scale_grad %[[D1]], %[[COUNTS]], @expert_down_bias
// CHECK-NEXT: %[[D4:.*]], %[[D_ROW_SCALE:.*]] = moe.swiglu_input_grad %[[D2]], %[[FC1]] scale %[[RP]] counts %[[COUNTS]] activation <>
// CHECK-NEXT: %[[D6:.*]] = moe.add %[[D3]], %[[D_ROW_SCALE]]
// CHECK-NEXT: %[[D7:.*]] = moe.grouped_linear_input_grad %[[D4]], %[[COUNTS]], @expert_gate_up
// CHECK-NEXT: %[[D8:.*]], %[[D_PROBABILITIES:.*]] = moe.dispatch_input_grad %[[D7]], %[[D6]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: %[[D10:.*]] = moe.route_input_grad %[[D_PROBABILITIES]], %[[P]], %[[E]] routing <top_k = 2, scoring = softmax, normalize = true>
// CHECK-NEXT: %[[D11:.*]] = moe.linear_input_grad %[[D10]], @router
// CHECK-NEXT: %[[D12:.*]] = moe.add %[[D8]], %[[D11]]
// CHECK-NEXT: moe.yield %[[D12]] : tensor<8x16xbf16> saved(%[[D1]], %[[ACT]], %[[COUNTS]], %[[RP]], %[[D4]], %[[ROWS]], %[[D10]], %[[X]] :
// CHECK: weight_grad(%[[D1:.*]]: tensor<?x16xbf16, #rows>, %[[ACT:.*]]: tensor<?x8xbf16, #rows>, %[[COUNTS:.*]]: tensor<2xi32>, %[[RP:.*]]: tensor<?xf32, #rows>, %[[D4:.*]]: tensor<?x16xbf16, #rows>, %[[ROWS:.*]]: tensor<?x16xbf16, #rows>, %[[D10:.*]]: tensor<8x4xf32>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.grouped_linear_weight_grad %[[D1]], %[[ACT]], %[[COUNTS]], @expert_down bias @expert_down_bias scale %[[RP]]
// CHECK-NEXT: moe.grouped_linear_weight_grad %[[D4]], %[[ROWS]], %[[COUNTS]], @expert_gate_up
// CHECK-NEXT: moe.linear_weight_grad %[[D10]], %[[X]], @router
// CHECK-NEXT: moe.yield{{$}}
moe.block @experts decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %logits = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  %p, %e = moe.route %logits routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %fc1 = moe.grouped_linear %rows, %counts, @expert_gate_up : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %act = moe.swiglu %fc1 scale %rp counts %counts activation <>
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>) -> tensor<?x8xbf16, #rows>
  %fc2 = moe.grouped_linear %act, %counts, @expert_down bias @expert_down_bias scale %rp
      : (tensor<?x8xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #rows>) -> tensor<?x16xbf16, #rows>
  %y = moe.combine %fc2, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}

// A sigmoid's gradient needs its scores.
// CHECK-LABEL: moe.block @scores decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[LOGITS:.*]] = moe.linear %[[X]], @router
// CHECK-NEXT: %[[P:.*]], %[[E:.*]], %[[S:.*]] = moe.route %[[LOGITS]] routing <top_k = 2, scoring = sigmoid, normalize = true>
// CHECK-NEXT: %[[ROWS:.*]], %[[RP:.*]], %[[COUNTS:.*]], %[[HANDLE:.*]] = moe.dispatch %[[X]], %[[P]], %[[E]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: %[[ACT:.*]] = moe.swiglu %[[ROWS]] scale %[[RP]] counts %[[COUNTS]] activation <>
// CHECK-NEXT: %[[FC2:.*]] = moe.grouped_linear %[[ACT]], %[[COUNTS]], @expert_down
// CHECK-NEXT: %[[Y:.*]] = moe.combine %[[FC2]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16> saved(%[[X]], %[[P]], %[[E]], %[[S]], %[[ROWS]], %[[RP]], %[[COUNTS]], %[[HANDLE]], %[[ACT]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>, %[[P:.*]]: tensor<8x2xf32>, %[[E:.*]]: tensor<8x2xi32>, %[[S:.*]]: tensor<8x2xf32>, %[[ROWS:.*]]: tensor<?x16xbf16, #rows>, %[[RP:.*]]: tensor<?xf32, #rows>, %[[COUNTS:.*]]: tensor<2xi32>, %[[HANDLE:.*]]: !moe.handle<tokens = 8, top_k = 2, experts = 4>, %[[ACT:.*]]: tensor<?x8xbf16, #rows>) {
// CHECK-NEXT: %[[D1:.*]] = moe.combine_input_grad %[[D]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: %[[D2:.*]] = moe.grouped_linear_input_grad %[[D1]], %[[COUNTS]], @expert_down
// CHECK-NEXT: %[[D3:.*]], %[[D_ROW_SCALE:.*]] = moe.swiglu_input_grad %[[D2]], %[[ROWS]] scale %[[RP]] counts %[[COUNTS]] activation <>
// CHECK-NEXT: %[[D5:.*]], %[[D_PROBABILITIES:.*]] = moe.dispatch_input_grad %[[D3]], %[[D_ROW_SCALE]], %[[HANDLE]] top_k 2 experts 4 ranks 2 capacity 20
// CHECK-NEXT: %[[D7:.*]] = moe.route_input_grad %[[D_PROBABILITIES]], %[[P]], %[[E]] scores %[[S]] routing <top_k = 2, scoring = sigmoid, normalize = true>
// CHECK-NEXT: %[[D8:.*]] = moe.linear_input_grad %[[D7]], @router
// CHECK-NEXT: %[[D9:.*]] = moe.add %[[D5]], %[[D8]]
// CHECK-NEXT: moe.yield %[[D9]] : tensor<8x16xbf16> saved(%[[D1]], %[[ACT]], %[[COUNTS]], %[[D7]], %[[X]] :
// CHECK: weight_grad(%[[D1:.*]]: tensor<?x16xbf16, #rows>, %[[ACT:.*]]: tensor<?x8xbf16, #rows>, %[[COUNTS:.*]]: tensor<2xi32>, %[[D7:.*]]: tensor<8x4xf32>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.grouped_linear_weight_grad %[[D1]], %[[ACT]], %[[COUNTS]], @expert_down
// CHECK-NEXT: moe.linear_weight_grad %[[D7]], %[[X]], @router
// CHECK-NEXT: moe.yield{{$}}
moe.block @scores decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %logits = moe.linear %x, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32>
  %p, %e, %s = moe.route %logits routing <top_k = 2, scoring = sigmoid, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x2xf32>)
  %rows, %rp, %counts, %handle = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>)
      -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  %act = moe.swiglu %rows scale %rp counts %counts activation <>
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>) -> tensor<?x8xbf16, #rows>
  %fc2 = moe.grouped_linear %act, %counts, @expert_down : (tensor<?x8xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows>
  %y = moe.combine %fc2, %handle top_k 2 experts 4 ranks 2 capacity 20 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}

// Tokens have no gradient: backward only hands on what the table's needs.
// CHECK-LABEL: moe.block @embedding embedding inputs(tokens) outputs(hidden)
// CHECK-NEXT: forward(%[[TOKENS:.*]]: {{.*}}) {
// CHECK-NEXT: %[[X:.*]] = moe.embedding %[[TOKENS]], @table
// CHECK-NEXT: moe.yield %[[X]] : tensor<8x16xbf16> saved(%[[TOKENS]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[TOKENS:.*]]: tensor<8xi32>) {
// CHECK-NEXT: moe.yield saved(%[[D]], %[[TOKENS]] :
// CHECK: weight_grad(%[[D:.*]]: tensor<8x16xbf16>, %[[TOKENS:.*]]: tensor<8xi32>) {
// CHECK-NEXT: moe.embedding_weight_grad %[[D]], %[[TOKENS]], @table
// CHECK-NEXT: moe.yield{{$}}
moe.block @embedding embedding inputs(tokens) outputs(hidden)
forward(%tokens: tensor<8xi32>) {
  %x = moe.embedding %tokens, @table : (tensor<8xi32>) -> tensor<8x16xbf16>
  moe.yield %x : tensor<8x16xbf16>
}

// The loss starts the gradients: nothing enters backward. It keeps logits,
// labels and log-sum-exp.
// CHECK-LABEL: moe.block @head head inputs(hidden, labels) outputs(loss)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}, %[[LABELS:.*]]: {{.*}}) {
// CHECK-NEXT: %[[LOGITS:.*]] = moe.linear %[[X]], @table
// CHECK-NEXT: %[[LOSS:.*]], %[[LSE:.*]] = moe.cross_entropy %[[LOGITS]], %[[LABELS]] grad_scale 0.125
// CHECK-NEXT: moe.yield %[[LOSS]] : tensor<1xf32> saved(%[[X]], %[[LABELS]], %[[LOGITS]], %[[LSE]] :
// CHECK: backward(%[[X:.*]]: tensor<8x16xbf16>, %[[LABELS:.*]]: tensor<8xi32>, %[[LOGITS:.*]]: tensor<8x32xbf16>, %[[LSE:.*]]: tensor<8xf32>) {
// CHECK-NEXT: %[[D1:.*]] = moe.cross_entropy_input_grad %[[LOGITS]], %[[LABELS]], %[[LSE]] scale 0.125
// CHECK-NEXT: %[[D2:.*]] = moe.linear_input_grad %[[D1]], @table
// CHECK-NEXT: moe.yield %[[D2]] : tensor<8x16xbf16> saved(%[[D1]], %[[X]] :
// CHECK: weight_grad(%[[D1:.*]]: tensor<8x32xbf16>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.linear_weight_grad %[[D1]], %[[X]], @table
// CHECK-NEXT: moe.yield{{$}}
moe.block @head head inputs(hidden, labels) outputs(loss)
forward(%x: tensor<8x16xbf16>, %labels: tensor<8xi32>) {
  %logits = moe.linear %x, @table : (tensor<8x16xbf16>) -> tensor<8x32xbf16>
  %loss, %lse = moe.cross_entropy %logits, %labels grad_scale 0.125
      : (tensor<8x32xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  moe.yield %loss : tensor<1xf32>
}

// A value that only one path reaches: no gradient ops for what does not lead to
// an output.
// CHECK-LABEL: moe.block @dead decoder inputs(hidden) outputs(hidden)
// CHECK-NEXT: forward(%[[X:.*]]: {{.*}}) {
// CHECK-NEXT: %[[UNUSED:.*]] = moe.linear %[[X]], @w
// CHECK-NEXT: %[[Y:.*]] = moe.linear %[[X]], @v
// CHECK-NEXT: moe.yield %[[Y]] : tensor<8x16xbf16> saved(%[[X]] :
// CHECK: backward(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: %[[D1:.*]] = moe.linear_input_grad %[[D]], @v
// CHECK-NEXT: moe.yield %[[D1]] : tensor<8x16xbf16> saved(%[[D]], %[[X]] :
// CHECK: weight_grad(%[[D:.*]]: tensor<8x16xbf16>, %[[X:.*]]: tensor<8x16xbf16>) {
// CHECK-NEXT: moe.linear_weight_grad %[[D]], %[[X]], @v
// CHECK-NEXT: moe.yield{{$}}
moe.block @dead decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  %unused = moe.linear %x, @w : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  %y = moe.linear %x, @v : (tensor<8x16xbf16>) -> tensor<8x16xbf16>
  moe.yield %y : tensor<8x16xbf16>
}
