//===- PipeOps.td - stages, ranks and steps ----------------*- tablegen -*-===//

#ifndef MOE_DIALECTS_PIPE_IR_PIPEOPS_TD
#define MOE_DIALECTS_PIPE_IR_PIPEOPS_TD

include "dialects/MoE/IR/MoEInterfaces.td"
include "dialects/Pipe/IR/PipeBase.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Pipe_StageOp : Pipe_Op<"stage", [Symbol, IsolatedFromAbove,
    HasParent<"::mlir::ModuleOp">]> {
  let summary = "consecutive blocks of the model on one pipeline rank";
  let description = [{
    Holds the work of some blocks as regions, of which each microbatch runs
    `forward` and then either `backward` or both `backward_input` and
    `weight_grad`:

    * `forward` takes one argument for each role in `inputs` (`hidden`,
      `tokens`, `labels`, `labels_2`, ...) and yields one value for each role in
      `outputs` (`hidden`, `loss`), then, as `kept`, what the backward needs;
    * `backward` takes the gradients of the `hidden` outputs and then the kept
      values, and yields the gradients of the `hidden` inputs; none where
      nothing before the stage is trained. It accumulates the gradients of the
      weights, too;
    * `backward_input` takes and yields the same, then, as `kept`, what the
      weight gradients need, which it leaves to
    * `weight_grad`, which takes those and yields nothing.

    The last two go together. A schedule may use both ways, for different
    microbatches; a stage holds the regions that some step runs
    (`--pipe-fuse-weight-gradients`). A stage in which and before which nothing
    is trained only has `forward`, which keeps nothing.

    Example:

    ```mlir
    pipe.stage @s1 rank 1 blocks ["head"] inputs ["hidden", "labels"]
        outputs ["loss"] forward {
    ^bb0(%x: tensor<8x4xbf16>, %labels: tensor<8xi32>):
      ...
      pipe.yield %loss : tensor<1xf32> kept %x, %inverse
          : tensor<8x4xbf16>, tensor<8x1xf32>
    } backward_input {
    ^bb0(%x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>):
      ...
      pipe.yield %dx : tensor<8x4xbf16> kept %x, %dn
          : tensor<8x4xbf16>, tensor<8x4xbf16>
    } weight_grad {
    ^bb0(%x: tensor<8x4xbf16>, %dn: tensor<8x4xbf16>):
      ...
      pipe.yield
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
    ConfinedAttr<I64Attr, [IntNonNegative]>:$rank,
    StrArrayAttr:$blocks, StrArrayAttr:$inputs, StrArrayAttr:$outputs);
  let regions = (region MaxSizedRegion<1>:$forward, MaxSizedRegion<1>:$backward,
                        MaxSizedRegion<1>:$backwardInput,
                        MaxSizedRegion<1>:$weightGrad);
  let assemblyFormat = [{
    $sym_name `rank` $rank `blocks` $blocks `inputs` $inputs `outputs` $outputs
    attr-dict-with-keyword `forward` $forward (`backward` $backward^)?
    (`backward_input` $backwardInput^)? (`weight_grad` $weightGrad^)?
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The region of `phase`; it may be empty.
    ::mlir::Region &getRegion(Phase phase);
    /// The regions that are not empty, in the order of phases.
    ::llvm::SmallVector<Phase> getPhases();
    /// The region that takes what the forward region keeps: `backward`, or
    /// `backward_input` where that is empty.
    ::mlir::Region &getFirstBackward();
    /// Whether the backward yields gradients of the hidden inputs.
    bool yieldsGradients();
    /// Number of arguments/results of the forward region with role `hidden`.
    unsigned getNumHiddenInputs();
    unsigned getNumHiddenOutputs();
  }];
}

def Pipe_YieldOp : Pipe_Op<"yield", [Terminator, Pure, HasParent<"StageOp">,
    AttrSizedOperandSegments, ReturnLike]> {
  let summary = "ends a region of a stage";
  let description = [{
    `results` leave the stage (sent to a neighbour, or the loss); `kept` values
    stay on the device for the next phase of the same microbatch.

    Example: `pipe.yield %y : tensor<8x4xbf16> kept %a : tensor<8x4xbf16>`
  }];
  let arguments = (ins Variadic<AnyType>:$results, Variadic<AnyType>:$kept);
  let assemblyFormat = [{
    ($results^ `:` type($results))? (`kept` $kept^ `:` type($kept))? attr-dict
  }];
}

// A release is an effect on storage that SSA does not show: it is neither
// speculatable nor removable.
def Pipe_ReleaseOp : Pipe_Op<"release", [HasParent<"StageOp">]> {
  let summary = "ends the storage of a value";
  let description = [{
    The bytes of `value` may be reused from here on. Every value of a stage is
    released exactly once or yielded, on every path; it must not be used after
    its release, and an op on another stream that reads it must have been waited
    for (`--pipe-verify-plan`).

    Example: `pipe.release %fc1 : tensor<?x1536xbf16, #moe.rows<balanced = 8,
    capacity = 12>>`
  }];
  let arguments = (ins Arg<AnyType, "the value", [MemFree]>:$value);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

/// A copy between device and host, on a stream of its own.
class Pipe_CopyOp<string mnemonic>
    : Pipe_Op<mnemonic, [HasParent<"StageOp">, Pure, InferTypeOpAdaptor,
          KernelOpInterface,
          DeclareOpInterfaceMethods<CostOpInterface>,
          DeclareOpInterfaceMethods<StreamOpInterface, ["getStreamKind"]>]>;

def Pipe_OffloadOp : Pipe_CopyOp<"offload"> {
  let summary = "copy a value to the host";
  let description = [{
    Copies `value` into pinned memory of the host, on the stream `copy_out`,
    beside whatever else runs. The bytes of `value` on the device are in use
    until the copy has ended; a `pipe.release` behind this op gives them back
    then.

    Example:

    ```mlir
    %host = pipe.offload %fc1 : tensor<4096x2048xbf16>
    pipe.release %fc1 : tensor<4096x2048xbf16>
    ```
  }];
  let arguments = (ins AnyType:$value);
  let results = (outs Pipe_HostType:$result);
  let assemblyFormat = "$value attr-dict `:` type($value)";
}

def Pipe_ReloadOp : Pipe_CopyOp<"reload"> {
  let summary = "copy a value back from the host";
  let description = [{
    Copies the bytes that a `pipe.offload` has put on the host back to the
    device, on the stream `copy_in`, beside whatever else runs. It does not begin
    before the op of the compute stream in front of it has ended: its place says
    how early it begins, and from where on it takes memory of the device.

    Example: `%fc1 = pipe.reload %host : !pipe.host<tensor<4096x2048xbf16>>`
  }];
  let arguments = (ins Pipe_HostType:$value);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$value attr-dict `:` qualified(type($value))";
}

def Pipe_InterleavingOp : Pipe_Op<"interleaving", [Symbol,
    HasParent<"::mlir::ModuleOp">,
    DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "how the ops of two regions of one rank alternate";
  let description = [{
    A forward region and a backward one, of the same or of different stages of a
    rank, that are run together for two microbatches: while the exchange of one
    is under way, the other computes. `order` says, in issue order, whose next
    op it is: 0 for the first region, 1 for the second. Ops of each region keep
    their order; releases belong to the op before them and are not counted. It
    is absent until `--pipe-interleave` has derived it from the costs of the
    ops.

    Created by `--pipe-build-schedule`, once for every pair of regions that some
    `pipe.overlap` runs.

    Example:

    ```mlir
    pipe.interleaving @i0 (@s1 forward, @s2 backward) order [0, 1, 1, 0, 1]
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
    FlatSymbolRefAttr:$first, Pipe_PhaseAttr:$firstPhase,
    FlatSymbolRefAttr:$second, Pipe_PhaseAttr:$secondPhase,
    OptionalAttr<DenseI64ArrayAttr>:$order);
  let assemblyFormat = [{
    $sym_name `(` $first custom<Phase>($firstPhase) `,` $second
    custom<Phase>($secondPhase) `)` (`order` $order^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Pipe_RankOp : Pipe_Op<"rank", [NoTerminator, NoRegionArguments,
    SingleBlock, HasParent<"::mlir::ModuleOp">]> {
  let summary = "the ordered steps of one pipeline rank";
  let description = [{
    Everything that a device of pipeline rank `rank` does in one training step,
    in issue order. All expert- and data-parallel replicas run the same list.

    Example:

    ```mlir
    pipe.rank 1 {
      pipe.receive @s1 microbatch 0 forward from 0
      pipe.load @s1 microbatch 0 "labels"
      pipe.run @s1 microbatch 0 forward
      pipe.collect_loss @s1 microbatch 0
      pipe.run @s1 microbatch 0 backward
      pipe.send @s1 microbatch 0 backward to 0
      pipe.wait_send @s1 microbatch 0 backward to 0
      pipe.reduce_gradients
      pipe.update
    }
    ```
  }];
  let arguments = (ins ConfinedAttr<I64Attr, [IntNonNegative]>:$rank);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$rank attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

class Pipe_StepOp<string mnemonic, list<Trait> traits = []>
    : Pipe_Op<mnemonic, !listconcat([HasParent<"RankOp">], traits)>;

defvar Pipe_StageRef = (ins FlatSymbolRefAttr:$stage,
    ConfinedAttr<I64Attr, [IntNonNegative]>:$microbatch);

def Pipe_LoadOp : Pipe_StepOp<"load"> {
  let summary = "fill an input of a stage from the data set";
  let description = [{
    Allocates the stage's argument with role `role` (`tokens`; `labels`, the
    tokens one position later; `labels_2`, two later; ...) for `microbatch` and
    fills it.

    Example: `pipe.load @s0 microbatch 3 "tokens"`
  }];
  let arguments = !con(Pipe_StageRef, (ins StrAttr:$role));
  let assemblyFormat = "$stage `microbatch` $microbatch $role attr-dict";
}

class Pipe_TransferOp<string mnemonic, string direction>
    : Pipe_StepOp<mnemonic> {
  let arguments = !con(Pipe_StageRef, (ins Pipe_PhaseAttr:$phase,
    ConfinedAttr<I64Attr, [IntNonNegative]>:$peer));
  let assemblyFormat = "$stage `microbatch` $microbatch custom<Phase>($phase) `" # direction #
                       "` $peer attr-dict";
}

def Pipe_ReceiveOp : Pipe_TransferOp<"receive", "from"> {
  let summary = "post the receive of a stage's input";
  let description = [{
    Allocates the hidden input of the forward region (phase `forward`), or the
    gradient that enters the backward region (phase `backward`, also where the
    backward is split), of `stage`, posts its receive from rank `peer`, and goes
    on. The run that takes the value waits for its bytes. `peer` is the rank
    itself where the neighbouring stage lies on the same rank.

    Example: `pipe.receive @s1 microbatch 0 forward from 0`
  }];
}

def Pipe_SendOp : Pipe_TransferOp<"send", "to"> {
  let summary = "post the output of a stage to its neighbour";
  let description = [{
    Posts what the forward region (phase `forward`) or the backward one (phase
    `backward`, also where the backward is split) yielded to rank `peer`, which
    may be the rank itself, and goes on. The bytes stay live until the matching
    `pipe.wait_send`.

    Example: `pipe.send @s0 microbatch 0 forward to 1`
  }];
}

def Pipe_WaitSendOp : Pipe_TransferOp<"wait_send", "to"> {
  let summary = "wait until a posted output was taken, and release it";
  let description = [{
    Blocks until rank `peer` has taken the bytes of the matching `pipe.send`,
    then ends their storage.

    Example: `pipe.wait_send @s0 microbatch 0 forward to 1`
  }];
}

def Pipe_RunOp : Pipe_StepOp<"run"> {
  let summary = "run a region of a stage for one microbatch";
  let description = [{
    Example: `pipe.run @s1 microbatch 0 forward`
  }];
  let arguments = !con(Pipe_StageRef, (ins Pipe_PhaseAttr:$phase));
  let assemblyFormat = [{
    $stage `microbatch` $microbatch custom<Phase>($phase) attr-dict
  }];
}

def Pipe_OverlapOp : Pipe_StepOp<"overlap"> {
  let summary = "run two regions interleaved, for one microbatch each";
  let description = [{
    Runs the two regions of a `pipe.interleaving`, the first for the first
    microbatch and the second for the second one, in its order. All streams are
    joined at the end, as behind a `pipe.run`.

    Example: `pipe.overlap @i0 microbatches 4, 1`
  }];
  let arguments = (ins FlatSymbolRefAttr:$interleaving,
    ConfinedAttr<I64Attr, [IntNonNegative]>:$firstMicrobatch,
    ConfinedAttr<I64Attr, [IntNonNegative]>:$secondMicrobatch);
  let assemblyFormat = [{
    $interleaving `microbatches` $firstMicrobatch `,` $secondMicrobatch
    attr-dict
  }];
}

def Pipe_CollectLossOp : Pipe_StepOp<"collect_loss"> {
  let summary = "add a microbatch's loss to the loss of the step";
  let description = [{
    Reads the scalar that the forward region yielded with role `loss`, and
    releases it.

    Example: `pipe.collect_loss @s1 microbatch 0`
  }];
  let arguments = Pipe_StageRef;
  let assemblyFormat = "$stage `microbatch` $microbatch attr-dict";
}

def Pipe_ReduceGradientsOp : Pipe_StepOp<"reduce_gradients"> {
  let summary = "sum gradients over the replicas of each parameter";
  let description = [{
    Dense parameters over all expert- and data-parallel ranks of the stage,
    expert parameters over the data-parallel ranks.

    Example: `pipe.reduce_gradients`
  }];
  let assemblyFormat = "attr-dict";
}

def Pipe_UpdateOp : Pipe_StepOp<"update"> {
  let summary = "apply the optimizer to all parameters of the rank";
  let description = [{
    Example: `pipe.update`
  }];
  let assemblyFormat = "attr-dict";
}

#endif // MOE_DIALECTS_PIPE_IR_PIPEOPS_TD
