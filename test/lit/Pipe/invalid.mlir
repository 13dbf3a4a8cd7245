// RUN: moe-opt %s --split-input-file --verify-diagnostics --allow-unregistered-dialect

// expected-error @below {{expert_ranks must be at least 1, is 0}}
module attributes {pipe.layout = #pipe.layout<pipeline_ranks = 2,
    expert_ranks = 0, data_ranks = 1, tensor_ranks = 1, context_ranks = 1,
    microbatches = 1, microbatch_size = 1, sequence_length = 4>} {}

// -----

// expected-error @below {{tensor_ranks must be 1, is 2: this parallelism is not supported}}
module attributes {pipe.layout = #pipe.layout<pipeline_ranks = 2,
    expert_ranks = 1, data_ranks = 1, tensor_ranks = 2, context_ranks = 1,
    microbatches = 1, microbatch_size = 1, sequence_length = 4>} {}

// -----

// expected-error @below {{input role "logits" is none of hidden, tokens, labels}}
pipe.stage @s rank 0 blocks [] inputs ["logits"] outputs [] forward {
^bb0(%x: tensor<4xi32>):
  pipe.yield
}

// -----

// expected-error @below {{output role "logits" is none of hidden, loss}}
pipe.stage @s rank 0 blocks [] inputs [] outputs ["logits"] forward {
  pipe.yield
}

// -----

// expected-error @below {{needs a forward region}}
pipe.stage @s rank 0 blocks [] inputs [] outputs [] forward {}

// -----

// expected-error @below {{has a weight_grad region but no backward_input region; they go together}}
pipe.stage @s rank 0 blocks [] inputs [] outputs [] forward {
  pipe.yield
} weight_grad {
  pipe.yield
}

// -----

// expected-error @below {{has a backward_input region but no weight_grad region; they go together}}
pipe.stage @s rank 0 blocks [] inputs [] outputs [] forward {
  pipe.yield
} backward {
  pipe.yield
} backward_input {
  pipe.yield
}

// -----

// expected-error @below {{forward region has 1 arguments for 0 input roles}}
pipe.stage @s rank 0 blocks [] inputs [] outputs [] forward {
^bb0(%x: tensor<4xi32>):
  pipe.yield
}

// -----

// expected-error @below {{forward region yields 1 results for 0 output roles}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x : tensor<8x4xbf16>
}

// -----

// expected-error @below {{keeps values but has no backward region}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield kept %x : tensor<8x4xbf16>
}

// -----

// expected-error @below {{values entering the backward region: 1 given, 0 taken}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield kept %x : tensor<8x4xbf16>
} backward {
  pipe.yield
}

// -----

// expected-error @below {{backward region, gradients of the hidden inputs: 2 given, 1 taken}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield kept %x : tensor<8x4xbf16>
} backward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x, %x : tensor<8x4xbf16>, tensor<8x4xbf16>
}

// -----

// expected-error @below {{gradients of the hidden inputs: number 0 is given as 'tensor<8x5xbf16>' and taken as 'tensor<8x4xbf16>'}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<8x4xbf16>):
  %y = "test.op"() : () -> tensor<8x5xbf16>
  pipe.yield %y : tensor<8x5xbf16>
} backward {
^bb0(%dy: tensor<8x5xbf16>):
  pipe.yield %dy : tensor<8x5xbf16>
}

// -----

// The two backwards take the same.

// expected-error @below {{values entering the backward_input region: 1 given, 0 taken}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield kept %x : tensor<8x4xbf16>
} backward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x : tensor<8x4xbf16>
} backward_input {
  pipe.yield
} weight_grad {
  pipe.yield
}

// -----

// expected-error @below {{backward_input region, gradients of the hidden inputs: 2 given, 1 taken}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield kept %x : tensor<8x4xbf16>
} backward_input {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield %x, %x : tensor<8x4xbf16>, tensor<8x4xbf16>
} weight_grad {
  pipe.yield
}

// -----

// expected-error @below {{backward region must keep nothing}}
pipe.stage @s rank 0 blocks [] inputs ["tokens"] outputs ["hidden"] forward {
^bb0(%x: tensor<8xi32>):
  %y = "test.op"() : () -> tensor<8x4xbf16>
  pipe.yield %y : tensor<8x4xbf16>
} backward {
^bb0(%dy: tensor<8x4xbf16>):
  pipe.yield kept %dy : tensor<8x4xbf16>
}

// -----

// expected-error @below {{values entering the weight_grad region: 0 given, 1 taken}}
pipe.stage @s rank 0 blocks [] inputs [] outputs [] forward {
  pipe.yield
} backward_input {
  pipe.yield
} weight_grad {
^bb0(%dy: tensor<8x4xbf16>):
  pipe.yield
}

// -----

// expected-error @below {{weight_grad region must yield nothing}}
pipe.stage @s rank 0 blocks [] inputs ["tokens"] outputs ["hidden"] forward {
^bb0(%x: tensor<8xi32>):
  %y = "test.op"() : () -> tensor<8x4xbf16>
  pipe.yield %y : tensor<8x4xbf16>
} backward_input {
^bb0(%dy: tensor<8x4xbf16>):
  pipe.yield kept %dy : tensor<8x4xbf16>
} weight_grad {
^bb0(%dy: tensor<8x4xbf16>):
  pipe.yield %dy : tensor<8x4xbf16>
}

// -----

pipe.rank 0 {
  // expected-error @below {{is not a step; pipe.rank holds steps only}}
  "test.op"() : () -> ()
}

// -----

// expected-error @below {{runs backward first; it must be forward}}
pipe.interleaving @i0 (@s backward, @s forward)

// -----

// expected-error @below {{runs weight_grad second; it must be backward or backward_input}}
pipe.interleaving @i0 (@s forward, @s weight_grad)

// -----

// expected-error @below {{names @s, which is no pipe.stage of the module}}
pipe.interleaving @i0 (@s forward, @s backward)

// -----

// expected-note @below {{this stage lies on rank 0}}
pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
// expected-note @below {{this stage lies on rank 1}}
pipe.stage @s1 rank 1 blocks [] inputs [] outputs [] forward { pipe.yield }
// expected-error @below {{names stages of two ranks}}
pipe.interleaving @i0 (@s0 forward, @s1 backward)

// -----

pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward {
  pipe.yield
} backward {
  pipe.yield
}
// expected-error @below {{order holds 2; its entries are 0 and 1}}
pipe.interleaving @i0 (@s0 forward, @s0 backward) order [0, 2]

// -----

// Releases belong to the op before them and have no place in the order.

// expected-note @below {{the stage is defined here}}
pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward {
  %y = "test.op"() : () -> tensor<8x4xbf16>
  pipe.release %y : tensor<8x4xbf16>
  pipe.yield
} backward {
  "test.op"() : () -> ()
  "test.op"() : () -> ()
  pipe.yield
}
pipe.interleaving @i0 (@s0 forward, @s0 backward) order [0, 1, 1]
// expected-error @below {{order has 1 entries for the 2 ops of the backward region of @s0}}
pipe.interleaving @i1 (@s0 forward, @s0 backward) order [0, 1]

// -----

// expected-note @below {{the stage is defined here}}
pipe.stage @s0 rank 0 blocks [] inputs [] outputs [] forward { pipe.yield }
// expected-error @below {{order has 1 entries for the 0 ops of the backward region of @s0}}
pipe.interleaving @i0 (@s0 forward, @s0 backward) order [1]

// -----

// expected-error @below {{holds a tensor or a dispatch handle, not 'f32'}}
func.func private @scalar(!pipe.host<f32>)

// -----

// expected-error @below {{holds a tensor or a dispatch handle, not '!pipe.host<tensor<4xf32>>'}}
func.func private @twice(!pipe.host<!pipe.host<tensor<4xf32>>>)

// -----

pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<4x4xf32>):
  // expected-error @below {{operand #0 must be a value in the memory of the host, but got 'tensor<4x4xf32>'}}
  %y = "pipe.reload"(%x) : (tensor<4x4xf32>) -> tensor<4x4xf32>
  pipe.yield %y : tensor<4x4xf32>
}

// -----

pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs ["hidden"] forward {
^bb0(%x: tensor<4x4xf32>):
  // expected-error @below {{inferred type(s) '!pipe.host<tensor<4x4xf32>>' are incompatible with return type(s) of operation '!pipe.host<tensor<4x4xbf16>>'}}
  // expected-error @below {{failed to infer returned types}}
  %y = "pipe.offload"(%x) : (tensor<4x4xf32>) -> !pipe.host<tensor<4x4xbf16>>
  pipe.yield %x : tensor<4x4xf32>
}
