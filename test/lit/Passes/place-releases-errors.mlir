// RUN: moe-opt %s --pass-pipeline='builtin.module(pipe.stage(pipe-place-releases))' --verify-diagnostics

pipe.stage @s0 rank 0 blocks [] inputs ["tokens"] outputs [] forward {
^bb0(%tokens: tensor<8xi32>):
  pipe.yield
} backward_input {
  pipe.yield
} weight_grad {
  pipe.yield
}

// expected-error @below {{'pipe.stage' op holds releases already}}
pipe.stage @s1 rank 0 blocks [] inputs ["tokens"] outputs [] forward {
^bb0(%tokens: tensor<8xi32>):
  pipe.yield kept %tokens : tensor<8xi32>
} backward {
^bb0(%tokens: tensor<8xi32>):
  pipe.release %tokens : tensor<8xi32>
  pipe.yield
}
