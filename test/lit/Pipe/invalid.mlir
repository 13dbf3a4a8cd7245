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

// expected-error @below {{has a weight_grad region but no backward region}}
pipe.stage @s rank 0 blocks [] inputs [] outputs [] forward {
  pipe.yield
} weight_grad {
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

// expected-error @below {{gradients of the hidden inputs: 0 given, 1 taken}}
pipe.stage @s rank 0 blocks [] inputs ["hidden"] outputs [] forward {
^bb0(%x: tensor<8x4xbf16>):
  pipe.yield
} backward {
  pipe.yield
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

// expected-error @below {{backward region keeps values but there is no weight_grad region}}
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
} backward {
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
} backward {
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
