//===- Passes.td - the way from layers to a verified plan --*- tablegen -*-===//

#ifndef MOE_PASSES_PASSES_TD
#define MOE_PASSES_PASSES_TD

include "mlir/Pass/PassBase.td"

def ExpandLayers : Pass<"moe-expand-layers", "::mlir::ModuleOp"> {
  let summary = "expand layers to the ops that kernels and collectives execute";
  let description = [{
    Replaces the `moe.model` by one `moe.block` a layer, in model order, whose
    forward region holds ops with the *per-rank local* shapes of the module's
    `pipe.layout`, and declares every parameter as `moe.parameter` with its
    local shard. Experts are sharded over expert parallelism; everything else is
    replicated. Probabilities travel with the tokens and are applied in the
    activation, so that the output of the experts need not be kept.

    Rows behind a dispatch get the bound
    `#moe.rows<balanced = tokens * top_k, capacity = ...>`; the capacity is
    `capacity-factor` times the balanced rows, never more than what routing can
    produce at all (`tokens * expert ranks * min(top_k, local experts)`), which
    is also what the factor 0 stands for.

    Before:

    ```mlir
    %1 = moe.decoder_layer %0 {index = 3, ...} : tensor<4096x2048xbf16>
    ```

    After:

    ```mlir
    moe.parameter @layers.3.input_norm : tensor<2048xbf16> {...}
    moe.block @layers.3 ... {
    ^bb0(%x: tensor<4096x2048xbf16>):
      %out, %inverse = moe.rms_norm %x, @layers.3.input_norm ...
      ...
    }
    ```

    Multi-token prediction modules become part of the block `head`, since they
    share its `lm_head`. With several pipeline ranks the last one gets a copy of
    the embedding table, which is `tied_to` the first one's.

    An expert count or a layout that does not divide is an error.
  }];
  let options = [Option<"capacityFactor", "capacity-factor", "double",
                        /*default=*/"1.25",
                        "Rows planned behind a dispatch, as a multiple of the "
                        "balanced rows; 0: the most that routing can produce">,
                 Option<"mtpWeight", "mtp-weight", "double", /*default=*/"0.3",
                        "Weight of the losses of all multi-token prediction "
                        "modules together beside the main loss">];
  let dependentDialects = ["::moe::MoEDialect", "::moe::pipe::PipeDialect"];
}

def Differentiate : Pass<"moe-differentiate", "::moe::BlockOp"> {
  let summary = "derive backward and weight-gradient regions with saved values";
  let description = [{
    Fills the `backward` and `weight_grad` regions of a `moe.block` from its
    forward region through DifferentiableOpInterface. Values of the forward
    region that the other two use become the `saved` operands of its `moe.yield`
    and arguments of the backward region; nothing else is kept. Gradients of a
    value with several users are summed with `moe.add` in reverse program order.

    Before:

    ```mlir
    moe.block @head ... {
    ^bb0(%x: tensor<8x4xbf16>, %labels: tensor<8xi32>):
      %n, %inverse = moe.rms_norm %x, @final_norm ...
      ...
      moe.yield %loss
    }
    ```

    After: `moe.yield %loss ... saved(%x, %inverse, ...)`, a `backward` region
    ending in the gradient of `%x`, and a `weight_grad` region with the updates
    of the gradients of `@final_norm` and `@lm_head`.
  }];
  let dependentDialects = ["::moe::MoEDialect"];
}

def PartitionStages : Pass<"pipe-partition-stages", "::mlir::ModuleOp"> {
  let summary = "merge blocks into one stage a pipeline rank";
  let description = [{
    Distributes the decoder blocks evenly over the pipeline ranks of the
    module's `pipe.layout` (a remainder goes to the inner ranks first, since the
    first holds the embedding and the last the head) and merges the blocks of a
    rank into one `pipe.stage`: forward regions one after the other, backward
    and weight-gradient regions in reverse. A value that several blocks save is
    kept once.

    Fewer decoder blocks than pipeline ranks is an error.
  }];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def FuseWeightGradients
    : Pass<"pipe-fuse-weight-gradients", "::moe::pipe::StageOp"> {
  let summary = "compute weight gradients within the backward region";
  let description = [{
    For schedules that do not split the backward pass: moves every op of the
    `weight_grad` region into the `backward` region, right behind the definition
    of the last of its operands, so that what it reads can be released as early
    as possible. The `weight_grad` region is empty afterwards.
  }];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def BuildSchedule : Pass<"pipe-build-schedule", "::mlir::ModuleOp"> {
  let summary = "order the steps of every pipeline rank";
  let description = [{
    Adds one `pipe.rank` a pipeline rank with all steps of a training step: data
    loads, receives, runs, sends and their waits, loss collection, gradient
    reduction and optimizer update. The backward runs of a stage are in
    ascending order of microbatches in every schedule, so that sums of gradients
    do not depend on the schedule.

    Before: stages only. After:

    ```mlir
    pipe.rank 0 {
      pipe.load @s0 microbatch 0 "tokens"
      pipe.run @s0 microbatch 0 forward
      pipe.send @s0 microbatch 0 forward to 1
      ...
    }
    ```
  }];
  let options = [Option<"kind", "kind", "std::string", /*default=*/"\"1f1b\"",
                        "Schedule: gpipe or 1f1b">];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def PlaceReleases : Pass<"pipe-place-releases", "::moe::pipe::StageOp"> {
  let summary = "end the storage of every value after its last use";
  let description = [{
    Inserts a `pipe.release` for every value of a stage that its region does not
    yield, behind its last use. An op on the expert-communication stream runs
    beside the compute stream: what it reads is released only behind the first
    later op on the compute stream that uses one of its results, since only then
    the exchange is known to be over.

    Before:

    ```mlir
    %rows, %p, %counts, %handle = moe.dispatch %n, ...
    %fc1 = moe.grouped_linear %rows, %counts, ...
    ```

    After:

    ```mlir
    %rows, %p, %counts, %handle = moe.dispatch %n, ...
    %fc1 = moe.grouped_linear %rows, %counts, ...
    pipe.release %n
    ```
  }];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def VerifyPlan : Pass<"pipe-verify-plan", "::mlir::ModuleOp"> {
  let summary = "prove that no value is used after its release, none leaks, "
                "and transfers match";
  let description = [{
    Fails, with a note at the other end of the problem, when

    * a value is used after its release, released twice, or released although
      its region yields it;
    * a value is neither released nor yielded (a leak);
    * an operand or a result of an exchange is released before an op has waited
      for it;
    * a stage is run without its inputs, more than once, or not at all for a
      microbatch;
    * sends and receives of two ranks do not match in order, or the ranks would
      wait for each other forever.
  }];
}

#endif // MOE_PASSES_PASSES_TD
