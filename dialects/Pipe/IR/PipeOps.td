//===- PipeOps.td - stages, ranks and steps ----------------*- tablegen -*-===//

#ifndef MOE_DIALECTS_PIPE_IR_PIPEOPS_TD
#define MOE_DIALECTS_PIPE_IR_PIPEOPS_TD

include "dialects/Pipe/IR/PipeBase.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Pipe_StageOp : Pipe_Op<"stage", [Symbol, IsolatedFromAbove,
    HasParent<"::mlir::ModuleOp">]> {
  let summary = "consecutive blocks of the model on one pipeline rank";
  let description = [{
    Holds the work of some blocks as three regions that are run once for each
    microbatch:

    * `forward` takes one argument for each role in `inputs` (`hidden`,
      `tokens`, `labels`, `labels_2`, ...) and yields one value for each role in `outputs`
      (`hidden`, `loss`), then, as `kept`, what the backward region needs;
    * `backward` takes the gradients of the `hidden` outputs and then the kept
      values, and yields the gradients of the `hidden` inputs and then, as
      `kept`, what the weight-gradient region needs;
    * `weight_grad` takes those and yields nothing. It is empty once weight
      gradients have been fused into `backward`.

    Example:

    ```mlir
    pipe.stage @s1 rank 1 blocks ["head"] inputs ["hidden", "labels"]
        outputs ["loss"] forward {
    ^bb0(%x: tensor<8x4xbf16>, %labels: tensor<8xi32>):
      ...
      pipe.yield %loss : tensor<1xf32> kept %x, %inverse
          : tensor<8x4xbf16>, tensor<8x1xf32>
    } backward {
    ^bb0(%x: tensor<8x4xbf16>, %inverse: tensor<8x1xf32>):
      ...
      pipe.yield %dx : tensor<8x4xbf16>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name,
    ConfinedAttr<I64Attr, [IntNonNegative]>:$rank,
    StrArrayAttr:$blocks, StrArrayAttr:$inputs, StrArrayAttr:$outputs);
  let regions = (region MaxSizedRegion<1>:$forward, MaxSizedRegion<1>:$backward,
                        MaxSizedRegion<1>:$weightGrad);
  let assemblyFormat = [{
    $sym_name `rank` $rank `blocks` $blocks `inputs` $inputs `outputs` $outputs
    attr-dict-with-keyword `forward` $forward (`backward` $backward^)?
    (`weight_grad` $weightGrad^)?
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The region of `phase`; it may be empty.
    ::mlir::Region &getRegion(Phase phase);
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
  let summary = "wait for the input of a stage from its neighbour";
  let description = [{
    Allocates the hidden input of the forward region (phase `forward`), or the
    gradient that enters the backward region (phase `backward`), of `stage`, and
    blocks until the bytes of rank `peer` are there.

    Example: `pipe.receive @s1 microbatch 0 forward from 0`
  }];
}

def Pipe_SendOp : Pipe_TransferOp<"send", "to"> {
  let summary = "post the output of a stage to its neighbour";
  let description = [{
    Posts what the region of `phase` yielded to rank `peer` and goes on. The
    bytes stay live until the matching `pipe.wait_send`.

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
