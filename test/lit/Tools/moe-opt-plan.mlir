// RUN: moe-opt %s --moe-plan --verify-roundtrip | FileCheck %s --check-prefixes=CHECK,ONE
// RUN: moe-opt %s --moe-plan='schedule=gpipe capacity-factor=0' | FileCheck %s --check-prefixes=CHECK,GPIPE
// RUN: moe-opt %s --moe-plan | moe-opt --pipe-verify-plan -o /dev/null
// RUN: moe-opt %s --moe-plan=schedule=auto 2>&1 | FileCheck %s --check-prefix=AUTO
// RUN: not moe-opt %s --moe-plan='schedule=auto budget=1000000' 2>&1 | FileCheck %s --check-prefix=BUDGET
// RUN: not moe-opt %s --moe-plan=schedule=zigzag 2>&1 | FileCheck %s --check-prefix=KIND
// RUN: not moe-opt %s --moe-plan=capacity-factor=0.5 2>&1 | FileCheck %s --check-prefix=CAPACITY

// KIND: error: unknown schedule 'zigzag'; known: gpipe, 1f1b, 
// AUTO: remark: schedule auto: {{.*}} no order takes less than {{.*}} (gap {{.*}} %), the best published one within the estimated limits, {{.*}}, takes
// AUTO: pipe.schedule = "auto"
// BUDGET: error: schedule auto: {{.*}} (beside parameters, buffers and the machine's reserve)
// CAPACITY: error: capacity-factor must be at least 1

// From layers to verified stages and ranks in one go.

#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, qk_norm = head, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#experts = #moe.experts<count = 4, intermediate = 8, routing = #moe.routing<top_k = 2, scoring = softmax, normalize = true>>

// ONE: #moe.rows<balanced = 16, capacity = 20>
// GPIPE: #moe.rows<balanced = 16, capacity = 32>
// CHECK-NOT: moe.model
// CHECK-NOT: moe.block
// CHECK: moe.parameter @embedding.table
// CHECK: pipe.stage @s0 rank 0 blocks ["embedding", "layers.0"] inputs ["tokens"] outputs ["hidden"] forward {
// CHECK: pipe.release
// CHECK: } backward {
// CHECK: moe.embedding_weight_grad
// CHECK-NOT: weight_grad {
// CHECK: pipe.stage @s1 rank 1 blocks ["layers.1", "head"] inputs ["hidden", "labels"] outputs ["loss"] forward {
// CHECK: moe.dispatch
// CHECK: } backward {
// CHECK: moe.cross_entropy_input_grad
// CHECK-NOT: weight_grad {
// CHECK: pipe.rank 0 {
// CHECK: pipe.rank 1 {
// CHECK: pipe.run @s1 microbatch 0 forward
// ONE: pipe.run @s1 microbatch 0 backward
// ONE: pipe.run @s1 microbatch 1 forward
// GPIPE: pipe.run @s1 microbatch 1 forward
// GPIPE: pipe.run @s1 microbatch 0 backward
// CHECK: pipe.run @s1 microbatch 1 backward
// CHECK: pipe.update
module attributes {pipe.layout = #pipe.layout<pipeline_ranks = 2,
    expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1,
    microbatches = 2, microbatch_size = 1, sequence_length = 8>} {
  moe.model @small architecture "test" hidden 16 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x16xbf16>
    %x1 = moe.decoder_layer %x0 layer 0 attention(#gqa) ffn(#moe.dense<intermediate = 8>) : tensor<?x16xbf16>
    %x2 = moe.decoder_layer %x1 layer 1 attention(#gqa) ffn(#experts) : tensor<?x16xbf16>
    %loss = moe.lm_loss %x2, %labels : (tensor<?x16xbf16>, tensor<?xi32>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}
