//===- PipeBase.td - the pipe dialect and its attributes ---*- tablegen -*-===//

#ifndef MOE_DIALECTS_PIPE_IR_PIPEBASE_TD
#define MOE_DIALECTS_PIPE_IR_PIPEBASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Pipe_Dialect : Dialect {
  let name = "pipe";
  let cppNamespace = "::moe::pipe";
  let summary = "who runs which part of a model when, and until when bytes live";
  let description = [{
    The `pipe` dialect places blocks of the `moe` dialect on pipeline ranks and
    orders their execution. It makes three things explicit that a framework
    hides in its run time:

    * **where**: a `pipe.stage` is a run of consecutive blocks on one rank, with
      a forward region and a backward one, whole or split into the gradients of
      inputs and of weights;
    * **when**: a `pipe.rank` lists the steps of one pipeline rank in order;
      regions are written once and run for many microbatches, so the IR grows
      with layers, and only the step lists with microbatches. A
      `pipe.interleaving` says how the ops of two regions alternate that run
      together;
    * **until when**: `pipe.release` ends the storage of a value. What a stage
      keeps from forward to backward is listed by the terminator of its forward
      region, so nothing is kept silently. `pipe.offload` and `pipe.reload` keep
      it in the memory of the host meanwhile.

    Passes bring the IR here in this order: partition (stages), build-schedule
    (ranks), fuse-weight-gradients, insert-recompute, insert-offload,
    place-releases, interleave, verify-plan.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
}

class Pipe_Op<string mnemonic, list<Trait> traits = []>
    : Op<Pipe_Dialect, mnemonic, traits>;

def Pipe_Phase : I32EnumAttr<"Phase", "what a stage does for a microbatch", [
    I32EnumAttrCase<"Forward", 0, "forward">,
    I32EnumAttrCase<"Backward", 1, "backward">,
    I32EnumAttrCase<"BackwardInput", 2, "backward_input">,
    I32EnumAttrCase<"WeightGrad", 3, "weight_grad">]> {
  let cppNamespace = "::moe::pipe";
  let genSpecializedAttr = 0;
}
def Pipe_PhaseAttr : EnumAttr<Pipe_Dialect, Pipe_Phase, "phase"> {
  let assemblyFormat = "$value";
}

def Pipe_LayoutAttr : AttrDef<Pipe_Dialect, "Layout"> {
  let mnemonic = "layout";
  let summary = "how the machine's devices share the model and the batch";
  let description = [{
    Sizes of the parallel groups and of the batch. The world has
    `pipeline_ranks * expert_ranks * data_ranks` devices; every expert- and
    data-parallel rank works on its own microbatches of `microbatch_size`
    sequences. `tensor_ranks` and `context_ranks` are part of the layout and
    must be 1 today.

    Example:

    ```mlir
    module attributes {pipe.layout = #pipe.layout<pipeline_ranks = 4,
      expert_ranks = 8, data_ranks = 1, tensor_ranks = 1, context_ranks = 1,
      microbatches = 32, microbatch_size = 1, sequence_length = 4096>} {}
    ```
  }];
  let parameters = (ins
    "int64_t":$pipeline_ranks, "int64_t":$expert_ranks, "int64_t":$data_ranks,
    "int64_t":$tensor_ranks, "int64_t":$context_ranks, "int64_t":$microbatches,
    "int64_t":$microbatch_size, "int64_t":$sequence_length);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Tokens of one microbatch on one device.
    int64_t getTokens() const {
      return getMicrobatchSize() * getSequenceLength();
    }
    /// The attribute's name on the module.
    static constexpr llvm::StringLiteral kName = "pipe.layout";
    /// The layout of `module`, or null after an error at the module.
    static LayoutAttr get(::mlir::ModuleOp module);
  }];
}

def Pipe_Action : I32EnumAttr<"Action", "what becomes of a saved value", [
    I32EnumAttrCase<"Keep", 0, "keep">,
    I32EnumAttrCase<"Recompute", 1, "recompute">,
    I32EnumAttrCase<"Offload", 2, "offload">]> {
  let cppNamespace = "::moe::pipe";
  let genSpecializedAttr = 0;
}

def Pipe_DecisionAttr : AttrDef<Pipe_Dialect, "Decision"> {
  let mnemonic = "decision";
  let summary = "what becomes of a value that backward needs, and why";
  let description = [{
    One of the list `pipe.decisions` of a `pipe.stage`, for a value of its
    forward region by its name in the plan: whether it is kept on the device
    although by default it would not be (`keep`), made again (`recompute`), or
    moved to the host and back (`offload`). `bytes` are those that a microbatch
    in flight holds less on the device, below 0 where it holds more. `ops` are
    the ops that this costs, by name; what several values need is listed at the
    first. Passes that decide write the list, the plan repeats it.

    Example:

    ```mlir
    #pipe.decision<recompute "layers.3.input_norm" bytes 58720256
        ops ["layers.3.input_norm.replay"] reason "norm">
    ```
  }];
  let parameters = (ins EnumParameter<Pipe_Action>:$action,
                        StringRefParameter<>:$value, "int64_t":$bytes,
                        OptionalArrayRefParameter<"::mlir::StringAttr">:$ops,
                        StringRefParameter<>:$reason);
  let assemblyFormat = [{
    `<` $action $value `bytes` $bytes `ops` `[` (`]`) : ($ops^ `]`)? `reason`
    $reason `>`
  }];
  let extraClassDeclaration = [{
    /// The name of the list on a stage.
    static constexpr llvm::StringLiteral kListName = "pipe.decisions";
  }];
}

def Pipe_HostType : TypeDef<Pipe_Dialect, "Host"> {
  let mnemonic = "host";
  let summary = "a value in the memory of the host";
  let description = [{
    The bytes of a tensor or dispatch handle in pinned memory of the host, where
    `pipe.offload` has put them. Only `pipe.reload` can read them. It takes no
    memory of the device, and is released like any other value.

    ```mlir
    !pipe.host<tensor<4096x2048xbf16>>
    ```
  }];
  let parameters = (ins "::mlir::Type":$content);
  let assemblyFormat = "`<` $content `>`";
  let genVerifyDecl = 1;
}

#endif // MOE_DIALECTS_PIPE_IR_PIPEBASE_TD
