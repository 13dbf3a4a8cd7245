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

def FreezeParameters : Pass<"moe-freeze-parameters", "::mlir::ModuleOp"> {
  let summary = "mark parameters that are not trained";
  let description = [{
    Makes the parameters that `parameters` names not trainable, and marks the
    blocks before which nothing is trained as `detached`: no gradient of their
    input is needed. Differentiation then makes gradients for the values that
    need them, and saves for those only: a frozen prefix of the model has no
    backward and keeps nothing, and where everything is frozen only forwards are
    left, which is how a model is evaluated.

    `parameters` is a list of patterns, each of which matches names of parameters
    or of blocks by their first parts; `*` stands for any characters and `0-3`
    for a range of numbers: `embedding,layers.0-3`, `layers.*.moe.router`, `*`.
    Copies (`tied_to`) follow their originals. A pattern that matches nothing is
    an error.

    Before (`parameters=embedding`):

    ```mlir
    moe.parameter @embedding : tensor<64x16xbf16> dense normal 2.0e-02
    moe.block @embedding ...
    moe.block @layers.0 decoder inputs(hidden) outputs(hidden) ...
    ```

    After:

    ```mlir
    moe.parameter @embedding : tensor<64x16xbf16> ... trainable = false ...
    moe.block @embedding ...
    moe.block @layers.0 decoder inputs(hidden) outputs(hidden) detached ...
    ```
  }];
  let options = [Option<"parameters", "parameters", "std::string",
                        /*default=*/"\"\"",
                        "Patterns of names of parameters or blocks, separated "
                        "by commas">];
  let dependentDialects = ["::moe::MoEDialect"];
}

def Differentiate : Pass<"moe-differentiate", "::mlir::ModuleOp"> {
  let summary = "derive backward and weight-gradient regions with saved values";
  let description = [{
    Fills the `backward` and `weight_grad` regions of every `moe.block` from its
    forward region through DifferentiableOpInterface. Values of the forward
    region that the other two use become the `saved` operands of its `moe.yield`
    and arguments of the backward region; nothing else is kept. Gradients of a
    value with several users are summed with `moe.add` in reverse program order.

    A value gets a gradient if it needs one: it is computed from a trainable
    parameter, or from a hidden input of a block that is not `detached`. A block
    without such values keeps its regions empty.

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
  let summary = "merge blocks into stages on pipeline ranks";
  let description = [{
    Distributes the decoder blocks over the stages as `layers` says, or evenly
    (a remainder goes to the inner stages first, since the first holds the
    embedding and the last the head), and merges the blocks of a stage into one `pipe.stage`: forward
    regions one after the other, input-gradient and weight-gradient regions in
    reverse. A value that several blocks save is kept once.

    There are `stages-per-rank` stages on each pipeline rank of the module's
    `pipe.layout`; `placement` says which:

    * `loop`: stage s on rank s modulo the number of ranks;
    * `v`: down the ranks and up again, turning on the same rank, so that with
      two stages a rank the first and the last stage share rank 0;
    * `bidirectional`: two stages a rank that belong to two copies of the model,
      run in opposite directions (DualPipe). The model is cut into one stage a
      rank; stages P to 2P-1 are copies of stages 0 to P-1, with parameters
      `<name>.copy` that are `tied_to` the originals.

    Fewer decoder blocks than stages of one copy is an error.

    Before (two ranks, `stages-per-rank=2 placement=v`):

    ```mlir
    moe.block @embedding ...
    moe.block @layers.0 ...
    ...
    moe.block @layers.3 ...
    moe.block @head ...
    ```

    After:

    ```mlir
    pipe.stage @s0 rank 0 blocks ["embedding", "layers.0"] ...
    pipe.stage @s1 rank 1 blocks ["layers.1"] ...
    pipe.stage @s2 rank 1 blocks ["layers.2"] ...
    pipe.stage @s3 rank 0 blocks ["layers.3", "head"] ...
    ```
  }];
  let options = [Option<"stagesPerRank", "stages-per-rank", "int64_t",
                        /*default=*/"1", "Stages on each pipeline rank">,
                 Option<"placement", "placement", "std::string",
                        /*default=*/"\"loop\"",
                        "Which ranks stages lie on: loop, v or bidirectional">,
                 ListOption<"layers", "layers", "int64_t",
                            "Decoder blocks of each stage of one copy of the "
                            "model, in model order; none: even shares">];
  let dependentDialects = ["::moe::MoEDialect", "::moe::pipe::PipeDialect"];
}

defvar costOptions = [
  Option<"profile", "profile", "std::string", /*default=*/"\"\"",
         "File of measured op times that the machine is calibrated from">,
  Option<"imbalance", "imbalance", "double", /*default=*/"1.1",
         "Rows behind a dispatch to estimate time for, as a multiple of the "
         "balanced rows">];

// So that stages cost what they will.
defvar techniqueOptions = [
  Option<"recompute", "recompute", "std::string", /*default=*/"\"\"",
         "Targets that pipe-insert-recompute will be given">,
  Option<"keepHandles", "recompute-keep-handles", "bool", /*default=*/"false",
         "Whether it will be told to keep handles">,
  Option<"offload", "offload", "std::string", /*default=*/"\"\"",
         "Targets that pipe-insert-offload will be given">,
  Option<"offloadLead", "offload-lead", "int64_t", /*default=*/"1",
         "The layers of lead that it will be given">];

def BuildSchedule : Pass<"pipe-build-schedule", "::mlir::ModuleOp"> {
  let summary = "order the steps of every pipeline rank";
  let description = [{
    Adds one `pipe.rank` a pipeline rank with all steps of a training step: data
    loads, receives, runs, overlaps, sends and their waits, loss collection,
    gradient reduction and optimizer update; and a `pipe.interleaving` without
    order for every pair of regions that some step overlaps. The backward runs
    of a stage are in ascending order of microbatches in every schedule, so that
    sums of gradients do not depend on the schedule. The schedule's name becomes
    the module's attribute `pipe.schedule`.

    `kind` names a generator (`moe-plan schedules` lists them) or is `auto`,
    which searches for the order with the shortest step within the memory that
    `budget` leaves on every rank, and remarks on what it found; `csv` names a
    file in the format of torch.distributed.pipelining instead. Stages must lie
    where the schedule wants them. Generators that go by costs take those of the
    stages on `machine`; without it every forward, input gradient and weight
    gradient takes one unit. `group-size` is for the interleaved ones.

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
  let options = !listconcat([
    Option<"kind", "kind", "std::string", /*default=*/"\"1f1b\"",
           "Schedule: the name of a generator, or auto">,
    Option<"csv", "csv", "std::string", /*default=*/"\"\"",
           "File to read the schedule from instead">,
    Option<"groupSize", "group-size", "int64_t", /*default=*/"0",
           "Interleaved schedules: microbatches that pass a stage before the "
           "rank turns to its next; 0: the number of ranks">,
    Option<"mostPending", "most-pending", "int64_t",
           /*default=*/"std::numeric_limits<int64_t>::max()",
           "Schedules that go by costs: weight gradients of a rank that may "
           "wait while it begins another action">,
    Option<"machine", "machine", "std::string", /*default=*/"\"\"",
           "Machine that costs are estimated for: a name or a description "
           "file; empty: unit costs">,
    ListOption<"budget", "budget", "int64_t",
           "auto: device memory that may be used, in bytes, the machine's "
           "reserve included: of each rank, or one for all; none: no limit">,
    Option<"worthNs", "worth-ns", "int64_t", /*default=*/"0",
           "With a machine: fail where the schedule alone is estimated to take "
           "this long, in nanoseconds; 0: never">], costOptions, techniqueOptions);
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def SearchSchedule : Pass<"pipe-search-schedule", "::mlir::ModuleOp"> {
  let summary = "choose stages and the order of steps together";
  let description = [{
    Takes the place of `pipe-partition-stages` and `pipe-build-schedule`: cuts
    the blocks into one stage a rank, two in a loop, and two in a V, as far as
    the model and the layout admit, measures what the stages cost on `machine`, searches
    for the shortest step within the memory that `budget` leaves on every rank
    (`docs/schedule-search.md`), and makes the stages and steps of the best. A
    remark says what was chosen, and how far it can be from the best that the
    proven lower bound leaves open.

    Limits that no order of steps can stay within are an error that names a rank
    and what it needs.
  }];
  let options = !listconcat([
    Option<"machine", "machine", "std::string", /*default=*/"\"h100-sxm\"",
           "Machine that costs are estimated for: a name or a description "
           "file">,
    ListOption<"budget", "budget", "int64_t",
           "Device memory that may be used, in bytes, the machine's reserve "
           "included: of each rank, or one for all; none: no limit">], costOptions, techniqueOptions);
  let dependentDialects = ["::moe::MoEDialect", "::moe::pipe::PipeDialect"];
}

def FuseWeightGradients
    : Pass<"pipe-fuse-weight-gradients", "::mlir::ModuleOp"> {
  let summary = "keep the backward regions that the schedule runs";
  let description = [{
    Where some step runs a stage's `backward`, makes that region of the ops of
    `backward_input` and `weight_grad`; erases those two where no step runs
    them. A stage that is run in both ways keeps all.

    Within `backward`, a weight gradient stands right behind the definition of
    the last of its operands, so that what it reads can be released as early as
    possible, or, better, behind the next exchange, where it gives the compute
    stream work while rows travel. The latter makes what it reads live longer.
    So a weight gradient is moved only where the bytes that live at each op it
    passes stay within the peak that the region has anyway: in alone-standing
    backwards as in overlapping ones time is won and no memory lost. Gradients
    of the attention, whose operands are small beside the rows that experts
    work on, pass; those of experts often do not.

    Weight gradients of the same parameter keep their order, so that sums are
    the same to the bit in both ways.

    Before:

    ```mlir
    } backward_input {
      %d1 = moe.linear_input_grad %d, @o_proj ...
      %rows = moe.combine_input_grad %d1, %handle ...
      ...
    } weight_grad {
      moe.linear_weight_grad %d, %x, @o_proj ...
    ```

    After, with steps that run `backward`:

    ```mlir
    } backward {
      %d1 = moe.linear_input_grad %d, @o_proj ...
      %rows = moe.combine_input_grad %d1, %handle ...
      moe.linear_weight_grad %d, %x, @o_proj ...
      ...
    ```
  }];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def InsertRecompute : Pass<"pipe-insert-recompute", "::mlir::ModuleOp"> {
  let summary = "run ops again in the backward pass instead of keeping values";
  let description = [{
    The values that `targets` covers (`docs/recompute.md` has the grammar and
    what each target covers) are no longer kept from forward to backward. The
    backward regions get copies of exactly the ops that make them again from
    what is still kept; their names end in `.replay`. A copy stands right before
    the first op that uses one of its results, and all users in the region, and
    in the `weight_grad` region behind it, share it. What only weight gradients
    need runs again in `weight_grad` where that holds fewer bytes between the
    halves than its results would.

    What must not run again (`RecomputableOpInterface`: the choice of experts)
    stays kept, or becomes kept where a replay needs it. So does what takes an op
    that moves over 32 times its bytes. A replayed dispatch makes a handle of its
    own, which the region releases like any other value; where only its rows are
    dropped, by name or because of `keep-handles`, they are instead sent along the
    handle that forward made, which then stays kept. What was decided becomes the
    attribute `pipe.decisions` of the stages.

    A choice that covers nothing is an error, as is a single value that must not
    be made again. A choice inside others is remarked on.

    Before:

    ```mlir
      %n, %inverse = moe.rms_norm %x, @input_norm ...
      pipe.yield %y ... kept %x, %n, %inverse, ...
    } backward {
    ^bb0(%d, %x, %n, %inverse):
      ...
      moe.linear_weight_grad %dq, %n, @q_proj ...
    ```

    After, with `targets=norm`:

    ```mlir
      %n, %inverse = moe.rms_norm %x, @input_norm ...
      pipe.yield %y ... kept %x, ...
    } backward {
    ^bb0(%d, %x):
      ...
      %n, %inverse = moe.rms_norm %x, @input_norm ...
      moe.linear_weight_grad %dq, %n, @q_proj ...
    ```
  }];
  let options = [Option<"targets", "targets", "std::string", /*default=*/"\"\"",
                        "Comma list of targets and values, each with an "
                        "optional @scope; empty: nothing is recomputed">,
                 Option<"keepHandles", "keep-handles", "bool",
                        /*default=*/"false",
                        "Replayed dispatches follow the handles of forward">];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def InsertOffload : Pass<"pipe-insert-offload", "::mlir::ModuleOp"> {
  let summary = "keep values on the host from forward to backward";
  let description = [{
    The values that `targets` covers (`docs/recompute.md` has the grammar and
    what each target covers) are no longer kept on the device. A copy to
    the host stands behind their last use in the forward region: it gives their
    bytes back when it ends, and no op of another stream has to wait for it. What
    is kept is the value on the host. In the regions that use it a copy back
    stands `lead-layers` layers before the first use (or `lead-ops` ops before
    it), at the earliest at the begin of the region, and begins there; every
    region that uses the value has a copy of its own, so that nothing of it is on
    the device in between.

    A remark says what stays although it is covered: a value that shares its
    bytes with another, that leaves the stage, or, where every backward follows
    its forward at once, one whose way back would begin with the backward region.
    A single value that cannot leave is an error, and so is a choice that covers
    nothing. What was decided becomes part of the attribute `pipe.decisions` of
    the stages. It works on what recomputation has left: values that replays
    begin with can wait on the host like all others.

    Before:

    ```mlir
      %fc1 = moe.grouped_linear %rows, %counts, @layers.3.moe.experts.gate_up ...
      %act = moe.swiglu %fc1 ...
      pipe.yield %y ... kept %fc1, ...
    } backward {
    ^bb0(%d, %fc1, ...):
      ...
      %dfc1 = moe.swiglu_input_grad %dact, %fc1 ...
    ```

    After, with `targets=moe.experts.gate_up`:

    ```mlir
      %fc1 = moe.grouped_linear %rows, %counts, @layers.3.moe.experts.gate_up ...
      %act = moe.swiglu %fc1 ...
      %host = pipe.offload %fc1 ...
      pipe.yield %y ... kept %host, ...
    } backward {
    ^bb0(%d, %host, ...):
      ...  // of layer 4
      %fc1 = pipe.reload %host ...
      ...  // of layer 4, then of layer 3
      %dfc1 = moe.swiglu_input_grad %dact, %fc1 ...
    ```
  }];
  let options = [
    Option<"targets", "targets", "std::string", /*default=*/"\"\"",
           "Comma list of targets and values, each with an optional @scope and "
           "@leadN; empty: nothing leaves the device">,
    Option<"leadLayers", "lead-layers", "int64_t", /*default=*/"1",
           "Layers before the one that uses a value first, in the order of the "
           "backward region, at which it is copied back, where it has no lead "
           "of its own">,
    Option<"leadOps", "lead-ops", "int64_t", /*default=*/"0",
           "Above 0: as many ops before its first use instead">];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def Interleave : Pass<"pipe-interleave", "::mlir::ModuleOp"> {
  let summary = "order the ops of overlapping regions by their costs";
  let description = [{
    Gives every `pipe.interleaving` its `order`: the merge of the ops of both
    regions that ends earliest when compute and exchanges run on two streams
    and every op takes its estimated time on `machine`. Releases must have been
    placed.

    Before: `pipe.interleaving @i0 (@s1 forward, @s2 backward)`

    After: `pipe.interleaving @i0 (@s1 forward, @s2 backward) order [1, 0, ...]`
  }];
  let options = !listconcat([
    Option<"machine", "machine", "std::string", /*default=*/"\"h100-sxm\"",
           "Machine that costs are estimated for: a name or a description "
           "file">], costOptions);
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def PlaceReleases : Pass<"pipe-place-releases", "::moe::pipe::StageOp"> {
  let summary = "end the storage of every value after its last use";
  let description = [{
    Inserts a `pipe.release` for every value of a stage that its region does not
    yield, behind its last use. What the weight gradients need is yielded by
    `backward_input` and released in `weight_grad`. An op on the expert-communication stream runs
    beside the compute stream: what it reads is released only behind the first
    later op on the compute stream that uses one of its results, since only then
    the exchange is known to be over.

    An op that may overwrite an operand (`AliasOpInterface`) does so, and is marked
    `moe.in_place`, where that operand's last use is the op itself: the operand's
    storage becomes the result's and is released with it. In a plan both are one
    value. What stages send to or receive from each other is not overwritten.

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
  let options = [
    Option<"overwrite", "overwrite", "bool", /*default=*/"true",
           "Ops may overwrite operands that nothing reads later">];
  let dependentDialects = ["::moe::pipe::PipeDialect"];
}

def VerifyPlan : Pass<"pipe-verify-plan", "::mlir::ModuleOp"> {
  let summary = "prove that no value is used after its release, none leaks, "
                "and transfers match";
  let description = [{
    Fails, with notes along the way of the value, when a rule is broken. Rules R1
    to R8 have names that diagnostics end with (`passes/Verify/StageRules.h`):

    * R1 `linear-handle`: every value, and a handle above all, has one owner. On
      every path it is released, yielded or overwritten once: training, forward
      only, stages without a backward, and replays that are cut short;
    * R2 `replay-handle`: a replayed dispatch makes a handle of its own, which
      its region uses for the replayed rows and ends;
    * R3 `last-use`: a value is released or overwritten behind its last use on any
      stream; what an exchange reads or makes, behind an op that waits for it;
    * R4 `needed-only`: a backward reads what forward keeps;
    * R5 `declared-effects`: every op is a kernel with declared effects;
    * R6 `replayable`: no replay takes a decision again (routing, counts);
    * R7 `handle-capacity`: at every step at most one handle is live for each
      dispatch of a microbatch in flight, and none at the end;
    * R8 `applied-once`: nothing is added to state twice, by a replay or else.

    It also fails when

    * a stage is run without its inputs, more than once, or not at all for a
      microbatch;
    * a region is run by no step, or a `pipe.interleaving` has no order;
    * sends and receives of two ranks do not match in order, or the ranks would
      wait for each other forever.

    What only exists in a plan is not proven here: places of bytes, waits between
    streams and what follows from them (a reload behind its own copy out, bytes
    that are used again), and live bytes. With `document` the plan is made as
    `moe-plan` makes it, on `machine`, and proven as `moe-plan verify` does
    (docs/proof.md), which every plan is before it leaves the compiler anyway; a
    counterexample is shown as notes at the ops that lead to it. Ops need names
    then.
  }];
  let options = [
    Option<"document", "document", "bool", /*default=*/"false",
           "Make the plan document and prove it, too">,
    Option<"machine", "machine", "std::string", /*default=*/"\"h100-sxm\"",
           "Machine that the document is made for: a name or a description "
           "file">];
}

#endif // MOE_PASSES_PASSES_TD
