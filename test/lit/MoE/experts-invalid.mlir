// RUN: moe-opt %s --split-input-file --verify-diagnostics

func.func @f(%l: tensor<8x4xf32>) {
  // expected-error @below {{number of experts = 4 must be a multiple of `groups` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.route %l routing <top_k = 2, scoring = softmax, normalize = true, groups = 3>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  return
}

// -----

func.func @f(%l: tensor<8x4xf32>) {
  // expected-error @below {{`top_k` = 3 exceeds the 2 experts to choose from}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.route %l routing <top_k = 3, scoring = softmax, normalize = true, groups = 2>
      : (tensor<8x4xf32>) -> (tensor<8x3xf32>, tensor<8x3xi32>)
  return
}

// -----

func.func @f(%l: tensor<8x4xf32>) {
  // expected-error @below {{`group_score` top2_sum needs groups of two experts or more}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.route %l routing <top_k = 1, scoring = softmax, normalize = true, groups = 4, group_score = top2_sum>
      : (tensor<8x4xf32>) -> (tensor<8x1xf32>, tensor<8x1xi32>)
  return
}

// -----

func.func @f(%l: tensor<8x4xf32>) {
  // expected-error @below {{inferred type(s) 'tensor<8x2xf32>', 'tensor<8x2xi32>', 'tensor<8x4xf32>' are incompatible with return type(s) of operation 'tensor<8x2xf32>', 'tensor<8x2xi32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.route %l routing <top_k = 2, scoring = softmax>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  return
}

// -----

// expected-note @below {{declared here}}
moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
func.func @f(%l: tensor<8x4xf32>) {
  // expected-error @below {{`correction` @norm must have shape [4], has type 'tensor<16xbf16>'}}
  %0, %1 = moe.route %l correction @norm routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>)
  return
}

// -----

func.func @f(%p: tensor<8x2xf32>, %p3: tensor<8x3xf32>, %e: tensor<8x2xi32>, %e3: tensor<8x3xi32>, %s: tensor<8x4xf32>) {
  // expected-error @below {{`d_probabilities` must have type 'tensor<8x2xf32>', has 'tensor<8x3xf32>'}}
  %0 = moe.route_input_grad %p3, %p, %e routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x3xf32>, tensor<8x2xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @f(%p: tensor<8x2xf32>, %p3: tensor<8x3xf32>, %e: tensor<8x2xi32>, %e3: tensor<8x3xi32>, %s: tensor<8x4xf32>) {
  // expected-error @below {{`probabilities` must have type 'tensor<8x2xf32>', has 'tensor<8x3xf32>'}}
  %0 = moe.route_input_grad %p, %p3, %e routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x2xf32>, tensor<8x3xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @f(%p: tensor<8x2xf32>, %p3: tensor<8x3xf32>, %e: tensor<8x2xi32>, %e3: tensor<8x3xi32>, %s: tensor<8x4xf32>) {
  // expected-error @below {{`experts` must have type 'tensor<8x2xi32>', has 'tensor<8x3xi32>'}}
  %0 = moe.route_input_grad %p, %p, %e3 routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x3xi32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @f(%p: tensor<8x2xf32>, %p3: tensor<8x3xf32>, %e: tensor<8x2xi32>, %e3: tensor<8x3xi32>, %s: tensor<8x4xf32>) {
  // expected-error @below {{needs `scores` with this routing}}
  %0 = moe.route_input_grad %p, %p, %e routing <top_k = 2, scoring = softmax>
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @f(%p: tensor<8x2xf32>, %p3: tensor<8x3xf32>, %e: tensor<8x2xi32>, %e3: tensor<8x3xi32>, %s: tensor<8x4xf32>) {
  // expected-error @below {{has no use for `scores` with this routing}}
  %0 = moe.route_input_grad %p, %p, %e scores %s routing <top_k = 2, scoring = softmax, normalize = true>
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x4xf32>) -> tensor<8x4xf32>
  return
}

// -----

func.func @f(%p: tensor<8x2xf32>, %p3: tensor<8x3xf32>, %e: tensor<8x2xi32>, %e3: tensor<8x3xi32>, %s: tensor<8x4xf32>) {
  // expected-error @below {{`scores` must have type 'tensor<8x2xf32>', has 'tensor<8x4xf32>'}}
  %0 = moe.route_input_grad %p, %p, %e scores %s routing <top_k = 2, scoring = sigmoid>
      : (tensor<8x2xf32>, tensor<8x2xf32>, tensor<8x2xi32>, tensor<8x4xf32>) -> tensor<8x4xf32>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`experts` = 4 must be a multiple of `ranks` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 3 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`top_k` = 5 must not exceed `experts` = 4}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 5 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`experts` = 4 must be a multiple of `groups` = 3}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 groups 3 top_groups 1
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`top_groups` = 3 must not exceed `groups` = 2}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 groups 2 top_groups 3
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`top_k` = 2 exceeds the experts of `top_groups` groups}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20 groups 4 top_groups 1
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`capacity` = 15 must be at least the balanced number of rows, tokens * top_k = 16}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 15
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{`probabilities` must have type 'tensor<8x3xf32>', has 'tensor<8x2xf32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 3 experts 4 ranks 2 capacity 30
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x3xi32>) {
  // expected-error @below {{`chosen` must have type 'tensor<8x2xi32>', has 'tensor<8x3xi32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x3xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<8x16xbf16>, %p: tensor<8x2xf32>, %e: tensor<8x2xi32>) {
  // expected-error @below {{are incompatible with return type(s) of operation}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1, %2, %3 = moe.dispatch %x, %p, %e top_k 2 experts 4 ranks 2 capacity 24
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%r: tensor<?x16xbf16, #rows>, %h: !handle) {
  // expected-error @below {{`handle` must have type '!moe.handle<tokens = 8, top_k = 2, experts = 8>', has '!moe.handle<tokens = 8, top_k = 2, experts = 4>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.combine %r, %h top_k 2 experts 8 ranks 2 capacity 20
      : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%r: tensor<?x16xbf16, #rows>, %h: !handle) {
  // expected-error @below {{`rows` must have type 'tensor<?x16xbf16, #moe.rows<balanced = 16, capacity = 24>>', has 'tensor<?x16xbf16, #moe.rows<balanced = 16, capacity = 20>>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 24
      : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%r: tensor<?x16xbf16>, %h: !handle) {
  // expected-error @below {{operand #0 must be 2-D tensor with #moe.rows (rows behind a dispatch)}}
  %0 = moe.combine %r, %h top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<?x16xbf16>, !handle) -> tensor<8x16xbf16>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%x: tensor<4x16xbf16>, %h: !handle) {
  // expected-error @below {{`d_out` must have type 'tensor<8x16xbf16>', has 'tensor<4x16xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.combine_input_grad %x, %h top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<4x16xbf16>, !handle) -> tensor<?x16xbf16, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
#more = #moe.rows<balanced = 16, capacity = 24>
func.func @f(%r: tensor<?x16xbf16, #rows>, %h: !handle, %rp: tensor<?xf32, #more>) {
  // expected-error @below {{`d_row_probabilities` must have type 'tensor<?xf32, #moe.rows<balanced = 16, capacity = 20>>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.dispatch_input_grad %r, %rp, %h top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #more>, !handle) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%r: tensor<?x16xbf16, #rows>, %h: !handle, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`d_rows` must have type 'tensor<?x16xbf16, #moe.rows<balanced = 16, capacity = 24>>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.dispatch_input_grad %r, %rp, %h top_k 2 experts 4 ranks 2 capacity 24
      : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, !handle) -> (tensor<8x16xbf16>, tensor<8x2xf32>)
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
// expected-note @below {{declared here}}
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`weight` @e must have shape [2, 32, 16] of 'bf16', has type 'tensor<2x16x16xbf16>'}}
  %0 = moe.grouped_linear %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x32xbf16, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
#more = #moe.rows<balanced = 16, capacity = 24>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`out` of type 'tensor<?x16xbf16, #moe.rows<balanced = 16, capacity = 24>>' must have as many rows as `x`}}
  %0 = moe.grouped_linear %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #more>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`out` of type 'tensor<?x16xf32, #moe.rows<balanced = 16, capacity = 20>>' must have elements of the same type as `x`}}
  %0 = moe.grouped_linear %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xf32, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{has a scale for a bias that is absent}}
  %0 = moe.grouped_linear %r, %c, @e scale %rp
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #rows>) -> tensor<?x16xbf16, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
#more = #moe.rows<balanced = 16, capacity = 24>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
moe.parameter @b : tensor<2x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #more>) {
  // expected-error @below {{`bias_scale` must have type 'tensor<?xf32, #moe.rows<balanced = 16, capacity = 20>>'}}
  %0 = moe.grouped_linear %r, %c, @e bias @b scale %rp
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #more>) -> tensor<?x16xbf16, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
#more = #moe.rows<balanced = 16, capacity = 24>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`d_x` of type 'tensor<?x16xbf16, #moe.rows<balanced = 16, capacity = 24>>' must have as many rows as `d_out`}}
  %0 = moe.grouped_linear_input_grad %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #more>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`d_x` of type 'tensor<?x16xf32, #moe.rows<balanced = 16, capacity = 20>>' must have elements of the same type as `d_out`}}
  %0 = moe.grouped_linear_input_grad %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xf32, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
// expected-note @below {{declared here}}
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{`bias` @e must have shape [2, 16] of 'bf16', has type 'tensor<2x16x16xbf16>'}}
  %0 = moe.grouped_linear_bias_scale_grad %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?xf32, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{inferred type(s) 'tensor<?xf32, #moe.rows<balanced = 16, capacity = 20>>' are incompatible with return type(s) of operation 'tensor<?xf64}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.grouped_linear_bias_scale_grad %r, %c, @e
      : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?xf64, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
#more = #moe.rows<balanced = 16, capacity = 24>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>, %d: tensor<?x16xbf16, #more>) {
  // expected-error @below {{`d_out` of type 'tensor<?x16xbf16, #moe.rows<balanced = 16, capacity = 24>>' must have as many rows as `x`}}
  moe.grouped_linear_weight_grad %d, %r, %c, @e
      : tensor<?x16xbf16, #more>, tensor<?x16xbf16, #rows>, tensor<2xi32>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>, %d: tensor<?x16xf32, #rows>) {
  // expected-error @below {{`d_out` of type 'tensor<?x16xf32, #moe.rows<balanced = 16, capacity = 20>>' must have elements of the same type as `x`}}
  moe.grouped_linear_weight_grad %d, %r, %c, @e
      : tensor<?x16xf32, #rows>, tensor<?x16xbf16, #rows>, tensor<2xi32>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #rows>) {
  // expected-error @below {{has a scale for a bias that is absent}}
  moe.grouped_linear_weight_grad %r, %r, %c, @e scale %rp
      : tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #rows>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
#more = #moe.rows<balanced = 16, capacity = 24>
moe.parameter @e : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
moe.parameter @b : tensor<2x16xbf16> expert #moe.initializer<zeros>
func.func @f(%r: tensor<?x16xbf16, #rows>, %c: tensor<2xi32>, %rp: tensor<?xf32, #more>) {
  // expected-error @below {{`bias_scale` must have type 'tensor<?xf32, #moe.rows<balanced = 16, capacity = 20>>'}}
  moe.grouped_linear_weight_grad %r, %r, %c, @e bias @b scale %rp
      : tensor<?x16xbf16, #rows>, tensor<?x16xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #more>
  return
}

// -----

func.func @f(%x: tensor<8x15xbf16>) {
  // expected-error @below {{width of x must be even, is 15}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.swiglu %x activation <> : (tensor<8x15xbf16>) -> tensor<8x7xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %s: tensor<4xf32>) {
  // expected-error @below {{`row_scale` must have type 'tensor<8xf32>', has 'tensor<4xf32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.swiglu %x scale %s activation <> : (tensor<8x16xbf16>, tensor<4xf32>) -> tensor<8x8xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %c: tensor<2xi32>) {
  // expected-error @below {{needs `counts` exactly when x has #moe.rows}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.swiglu %x counts %c activation <> : (tensor<8x16xbf16>, tensor<2xi32>) -> tensor<8x8xbf16>
  return
}

// -----

#rows = #moe.rows<balanced = 16, capacity = 20>
func.func @f(%x: tensor<?x16xbf16, #rows>) {
  // expected-error @below {{needs `counts` exactly when x has #moe.rows}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.swiglu %x activation <> : (tensor<?x16xbf16, #rows>) -> tensor<?x8xbf16, #rows>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>) {
  // expected-error @below {{`d_out` must have type 'tensor<8x8xbf16>', has 'tensor<8x16xbf16>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.swiglu_input_grad %x, %x activation <>
      : (tensor<8x16xbf16>, tensor<8x16xbf16>) -> tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %l: tensor<4xi32>) {
  // expected-error @below {{`labels` must have type 'tensor<8xi32>', has 'tensor<4xi32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0, %1 = moe.cross_entropy %x, %l
      : (tensor<8x16xbf16>, tensor<4xi32>) -> (tensor<1xf32>, tensor<8xf32>)
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %l: tensor<4xi32>, %s: tensor<8xf32>) {
  // expected-error @below {{`labels` must have type 'tensor<8xi32>', has 'tensor<4xi32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.cross_entropy_input_grad %x, %l, %s scale 1.0
      : (tensor<8x16xbf16>, tensor<4xi32>, tensor<8xf32>) -> tensor<8x16xbf16>
  return
}

// -----

func.func @f(%x: tensor<8x16xbf16>, %l: tensor<8xi32>, %s: tensor<4xf32>) {
  // expected-error @below {{`log_sum_exp` must have type 'tensor<8xf32>', has 'tensor<4xf32>'}}
  // expected-error @below {{failed to infer returned types}}
  %0 = moe.cross_entropy_input_grad %x, %l, %s scale 1.0
      : (tensor<8x16xbf16>, tensor<8xi32>, tensor<4xf32>) -> tensor<8x16xbf16>
  return
}
