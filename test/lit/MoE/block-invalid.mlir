// RUN: moe-opt %s --split-input-file --verify-diagnostics --allow-unregistered-dialect

// expected-error @below {{must have at least one dimension and one element, is 'tensor<bf16>'}}
moe.parameter @p : tensor<bf16> dense #moe.initializer<zeros>

// -----

// expected-error @below {{must have at least one dimension and one element, is 'tensor<0x4xbf16>'}}
moe.parameter @p : tensor<0x4xbf16> dense #moe.initializer<zeros>

// -----

// expected-error @below {{must have a type without encoding}}
moe.parameter @p : tensor<4xbf16, 1> dense #moe.initializer<zeros>

// -----

// expected-error @below {{is not trainable, so `decay` must be false}}
moe.parameter @p : tensor<4xbf16> dense #moe.initializer<zeros> {trainable = false}

// -----

// expected-error @below {{is tied to @q, which is no parameter of the module}}
moe.parameter @p : tensor<4xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @q}

// -----

moe.parameter @q : tensor<4xbf16> dense #moe.initializer<normal, 0.03>
// expected-error @below {{is tied to @q and must be like it in everything but its name}}
moe.parameter @p : tensor<4xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @q}

// -----

moe.parameter @r : tensor<4xbf16> dense #moe.initializer<normal, 0.02>
moe.parameter @q : tensor<4xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @r}
// expected-error @below {{is tied to @q, which is tied itself}}
moe.parameter @p : tensor<4xbf16> dense #moe.initializer<normal, 0.02> {tied_to = @q}

// -----

// expected-error @below {{has an input with role 'labels_1', expected hidden, tokens or labels}}
moe.block @b head inputs(labels_1) outputs(hidden)

// -----

// expected-error @below {{has an input with role 'loss', expected hidden, tokens or labels}}
moe.block @b head inputs(loss) outputs(hidden)

// -----

// expected-error @below {{has an output with role 'tokens', expected hidden or loss}}
moe.block @b head inputs(hidden) outputs(tokens)

// -----

// expected-error @below {{input with role 'tokens' cannot have type 'tensor<8x16xbf16>'}}
moe.block @b embedding inputs(tokens) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}

// -----

// expected-error @below {{output with role 'loss' cannot have type 'tensor<8x16xbf16>'}}
moe.block @b head inputs(hidden) outputs(loss)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}

// -----

// expected-error @below {{forward takes 1 values, but the block has 2 inputs}}
moe.block @b mtp inputs(hidden, tokens) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}

// -----

// expected-error @below {{forward yields 0 values, but the block has 1 outputs}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield
}

// -----

// expected-error @below {{forward must end in a moe.yield}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  "test.end"() : () -> ()
}

// -----

// expected-error @below {{forward saves 1 values, but there is no backward program to take them}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
}

// -----

// expected-error @below {{has a backward program without a forward one}}
moe.block @b decoder inputs(hidden) outputs(hidden)
backward(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16>
}

// -----

// expected-error @below {{has a weight_grad program without a backward one}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
weight_grad(%x: tensor<8x16xbf16>) {
  moe.yield
}

// -----

// expected-error @below {{arguments of backward (gradients of hidden outputs, then what forward saves): 2 needed, 1 there}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16> saved(%x : tensor<8x16xbf16>)
}
backward(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16>
}

// -----

// expected-error @below {{number 0 must have type 'tensor<8x16xbf16>', has 'tensor<8x32xbf16>'}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
backward(%d: tensor<8x32xbf16>) {
  moe.yield %d : tensor<8x32xbf16>
}

// -----

// expected-error @below {{results of backward (gradients of hidden inputs): 1 needed, 0 there}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
backward(%d: tensor<8x16xbf16>) {
  moe.yield
}

// -----

// expected-error @below {{backward saves 1 values, but there is no weight_grad program to take them}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
backward(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16> saved(%d : tensor<8x16xbf16>)
}

// -----

// expected-error @below {{arguments of weight_grad (what backward saves): 1 needed, 0 there}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
backward(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16> saved(%d : tensor<8x16xbf16>)
}
weight_grad() {
  moe.yield
}

// -----

// expected-error @below {{weight_grad must yield nothing}}
moe.block @b decoder inputs(hidden) outputs(hidden)
forward(%x: tensor<8x16xbf16>) {
  moe.yield %x : tensor<8x16xbf16>
}
backward(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16> saved(%d : tensor<8x16xbf16>)
}
weight_grad(%d: tensor<8x16xbf16>) {
  moe.yield %d : tensor<8x16xbf16>
}
