// What each target drops, and what runs again for it, in layers of all kinds:
// latent attention with a dense network (layer 0), with experts and a shared
// one (layer 1), and in a multi-token prediction module with grouped queries.

// DEFINE: %{targets} =
// DEFINE: %{plan} = moe-opt %s --pass-pipeline='builtin.module(moe-expand-layers,moe-differentiate,pipe-partition-stages,pipe-build-schedule{kind=1f1b},pipe-fuse-weight-gradients,pipe-insert-recompute{targets=%{targets}},pipe.stage(pipe-place-releases),pipe-verify-plan)' --verify-roundtrip

// REDEFINE: %{targets} = norm
// RUN: %{plan} | FileCheck %s --check-prefix=NORM
// NORM:      pipe.decisions = [
// NORM-SAME:   #pipe.decision<recompute "layers.0.input_norm" bytes 8192 ops["layers.0.input_norm.replay"] reason "norm">,
// What comes with an op that runs again costs nothing more.
// NORM-SAME:   #pipe.decision<recompute "layers.0.input_norm:inverse" bytes 256 ops[] reason "norm">,
// NORM-SAME:   recompute "layers.0.post_norm" {{.*}}recompute "layers.1.input_norm"
// NORM-SAME:   recompute "final_norm" {{.*}}recompute "mtp.0.embedding_norm" {{.*}}recompute "mtp.0.hidden_norm"
// NORM-SAME:   recompute "mtp.0.final_norm"
// NORM-NOT:  recompute "layers.0.attention

// REDEFINE: %{targets} = attn_proj
// RUN: %{plan} | FileCheck %s --check-prefix=PROJ
// The projection itself is not kept; the sum behind it is.
// PROJ:      pipe.decisions = [
// PROJ-SAME:   #pipe.decision<recompute "layers.0.attention_residual" bytes 8192 ops["layers.0.attention_residual.replay", "layers.0.attention.o_proj.replay"] reason "attn_proj">, #pipe.decision<recompute "layers.1.attention_residual"

// REDEFINE: %{targets} = mla_up_proj
// RUN: %{plan} 2>&1 | FileCheck %s --check-prefix=UP
// UP:        remark: recompute: 2 values become kept that replays need and that cannot be, or are hardly worth being, made again, {{[0-9]+}} bytes a microbatch over all stages; the first is 'layers.0.attention.k_rope'
// UP:        pipe.decisions = [
// UP-SAME:     recompute "layers.0.attention.q_down_norm" bytes 256 ops["layers.0.attention.q_down_norm.replay"]
// UP-SAME:     recompute "layers.0.attention.q_rope" bytes {{[0-9]+}} ops["layers.0.attention.q_rope.replay", "layers.0.attention.q_up.replay"]
// UP-SAME:     recompute "layers.0.attention.kv_down_norm"
// UP-SAME:     recompute "layers.0.attention.v_up"
// UP-SAME:     recompute "layers.0.attention.key" bytes {{[0-9]+}} ops["layers.0.attention.key.replay", "layers.0.attention.k_up.replay"]
// UP-SAME:     #pipe.decision<keep "layers.0.attention.k_rope" bytes -{{[0-9]+}} ops[] reason "replays need it">
// Grouped queries are no low-rank projections.
// UP-NOT:    recompute "mtp.0

// REDEFINE: %{targets} = core_attn@layers.1
// RUN: %{plan} | FileCheck %s --check-prefix=CORE
// CORE:      pipe.decisions = [#pipe.decision<recompute "layers.1.attention.core" bytes {{[0-9]+}} ops["layers.1.attention.core.replay"] reason "core_attn@layers.1">, #pipe.decision<recompute "layers.1.attention.core:log_sum_exp" bytes 256 ops[] reason "core_attn@layers.1">]

// REDEFINE: %{targets} = moe_act,expert_fc1@layers.1
// RUN: %{plan} | FileCheck %s --check-prefix=ACT
// The activation needs the projection, which is dropped as well and listed where
// it is needed first.
// ACT:       pipe.decisions = [
// ACT-SAME:    recompute "layers.1.moe.experts.gate_up" bytes {{[0-9]+}} ops["layers.1.moe.experts.gate_up.replay"] reason "expert_fc1@layers.1">
// ACT-SAME:    recompute "layers.1.moe.experts.act" bytes {{[0-9]+}} ops["layers.1.moe.experts.act.replay"] reason "moe_act">]

// REDEFINE: %{targets} = shared_experts
// RUN: %{plan} | FileCheck %s --check-prefix=SHARED
// SHARED:    pipe.decisions = [
// SHARED-SAME: recompute "layers.1.moe.shared.gate_up" {{.*}}recompute "layers.1.moe.shared.act"
// SHARED-NOT: recompute "layers.1.moe.experts

// REDEFINE: %{targets} = routed_experts
// RUN: %{plan} | FileCheck %s --check-prefix=ROUTED
// A second dispatch has a handle of its own; decisions are not made twice, and
// nothing asks for the second projection or the combine.
// ROUTED:    pipe.decisions = [
// ROUTED-SAME: recompute "layers.1.moe.dispatch:rows" bytes {{[0-9]+}} ops["layers.1.moe.dispatch.replay"]
// ROUTED-SAME: recompute "layers.1.moe.dispatch:handle"
// ROUTED:    } backward {
// ROUTED-NOT: !moe.handle<{{.*}}>):
// ROUTED:    %[[ROWS:.*]], %[[P:.*]], %[[COUNTS:.*]], %[[HANDLE:.*]] = moe.dispatch
// ROUTED-NEXT: moe.combine_input_grad %{{.*}}, %[[HANDLE]]
// ROUTED-NOT: moe.route routing
// ROUTED-NOT: moe.combine %
// ROUTED:    moe.dispatch_input_grad %{{.*}}, %{{.*}}, %[[HANDLE]]
// ROUTED:    pipe.release %[[HANDLE]]

// REDEFINE: %{targets} = moe
// RUN: %{plan} | FileCheck %s --check-prefix=MOE
// MOE:       pipe.decisions = [
// MOE-NOT:   recompute "layers.1.moe.route
// MOE-SAME:    recompute "layers.1.moe.dispatch:rows" {{.*}}recompute "layers.1.moe.shared.gate_up"
// MOE-NOT:   recompute "layers.1.post_norm

// REDEFINE: %{targets} = mlp
// RUN: %{plan} | FileCheck %s --check-prefix=MLP
// MLP:       pipe.decisions = [
// MLP-SAME:    recompute "layers.0.mlp.gate_up" {{.*}}recompute "layers.0.mlp.act" {{.*}}recompute "mtp.0.mlp.gate_up"

// REDEFINE: %{targets} = full
// RUN: %{plan} 2>&1 | FileCheck %s --check-prefix=FULL
// A layer's input stays, and so does what the router decided.
// FULL:      pipe.decisions = [
// FULL-NOT:  recompute "{{layers.[01].ffn_residual|layers.1.moe.route:.*|embedding.lookup|final_norm}}"
// FULL-SAME:   recompute "mtp.0.lookup" bytes 8192 ops["mtp.0.lookup.replay"] reason "full">
// FULL:      pipe.stage

// REDEFINE: %{targets} = moe_act,full,moe,norm,norm@layers.1,layers.1.moe.experts.act
// RUN: %{plan} 2>&1 | FileCheck %s --check-prefix=NEST
// A choice inside others is none; the final norms are in no layer.
// NEST-DAG:  remark: recompute: 'moe' adds nothing to 'full'
// NEST-DAG:  remark: recompute: 'moe_act' adds nothing to 'full'
// NEST-DAG:  remark: recompute: 'norm@layers.1' adds nothing to 'full'
// NEST-DAG:  remark: recompute: 'layers.1.moe.experts.act' adds nothing to 'full'
// NEST-NOT:  'norm' adds nothing

#mla = #moe.mla<heads = 2, q_lora_rank = 6, kv_lora_rank = 5, nope_dim = 8, rope_dim = 4, v_dim = 3, softmax_scale = 0.25, rotary = #moe.rotary<dim = 4>>
#gqa = #moe.gqa<heads = 2, kv_heads = 1, head_dim = 4, softmax_scale = 0.5, rotary = #moe.rotary<dim = 4>>
#experts = #moe.experts<count = 4, intermediate = 6, shared_intermediate = 10, routing = #moe.routing<top_k = 2, scoring = sigmoid, normalize = true>, correction_bias = true>

module attributes {pipe.layout = #pipe.layout<pipeline_ranks = 1,
    expert_ranks = 2, data_ranks = 1, tensor_ranks = 1, context_ranks = 1,
    microbatches = 1, microbatch_size = 1, sequence_length = 8>} {
  moe.model @small architecture "test" hidden 512 vocabulary 32 norm_epsilon 1.0e-6 initializer_range 0.02
      (%tokens: tensor<?xi32>, %labels: tensor<?xi32>) {
    %x0 = moe.input_embedding %tokens : (tensor<?xi32>) -> tensor<?x512xbf16>
    %x1 = moe.decoder_layer %x0 layer 0 attention(#mla) ffn(#moe.dense<intermediate = 8>) : tensor<?x512xbf16>
    %x2 = moe.decoder_layer %x1 layer 1 attention(#mla) ffn(#experts) : tensor<?x512xbf16>
    %x3 = moe.mtp_layer %x2, %tokens layer 2 attention(#gqa) ffn(#moe.dense<intermediate = 8>) : tensor<?x512xbf16>, tensor<?xi32>
    %loss = moe.lm_loss %x2, %labels mtp(%x3) : (tensor<?x512xbf16>, tensor<?xi32>, tensor<?x512xbf16>) -> tensor<1xf32>
    moe.yield %loss : tensor<1xf32>
  }
}
