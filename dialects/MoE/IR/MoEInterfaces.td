//===- MoEInterfaces.td - what planners ask of ops -----------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEINTERFACES_TD
#define MOE_DIALECTS_MOE_IR_MOEINTERFACES_TD

include "mlir/IR/OpBase.td"

def KernelOpInterface : OpInterface<"KernelOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    One entry of a plan: a kernel or a collective. Operands, results and
    parameters are given in the order of the plan's documentation, with a null
    in the place of an optional one that is absent.
  }];
  let methods = [
    InterfaceMethod<"Operands by position; null where absent.",
      "::llvm::SmallVector<::mlir::Value>", "getKernelInputs", (ins), "", [{
        return ::llvm::to_vector($_op->getOperands());
      }]>,
    InterfaceMethod<"Results by position; null where absent.",
      "::llvm::SmallVector<::mlir::Value>", "getKernelOutputs", (ins), "", [{
        return ::llvm::SmallVector<::mlir::Value>($_op->getResults());
      }]>,
    InterfaceMethod<[{
        Parameters by position, with the shape and element type that the op
        needs. `symbol` is null where the parameter is absent.
      }],
      "::llvm::SmallVector<::moe::ParameterUse>", "getParameters", (ins), "",
      "return {};">,
  ];
}

def CostOpInterface : OpInterface<"CostOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    What executing the op costs, as counts; rates and times are the machine's
    business. Rows behind a dispatch are counted at their balanced number.
  }];
  let methods = [
    InterfaceMethod<"Arithmetic, memory traffic and link traffic of one run.",
      "::moe::OpCost", "getCost">,
  ];
}

def StreamOpInterface : OpInterface<"StreamOpInterface"> {
  let cppNamespace = "::moe";
  let description = "The stream that an op is issued on.";
  let methods = [
    InterfaceMethod<"The kind of stream; ops of one kind run in order.",
      "::moe::StreamKind", "getStreamKind", (ins), "",
      "return ::moe::StreamKind::compute;">,
  ];
}

def RecomputableOpInterface : OpInterface<"RecomputableOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    Whether a backward program may run the op again instead of keeping its
    results.
  }];
  let methods = [
    InterfaceMethod<[{
        True if a second run on the same inputs gives results that can replace
        the first ones. False for `moe.route`: a choice of experts that changed
        by one ulp would send gradients elsewhere, so decisions are kept. True
        for `moe.dispatch`, with a new handle: the copies of the ops behind it
        must use that one, and it has its own release.
      }],
      "bool", "isReplayable", (ins), "", "return true;">,
    InterfaceMethod<[{
        True if every rank of the expert-parallel group takes part, so that all
        of them must replay the op or none.
      }],
      "bool", "hasCollective", (ins), "", "return false;">,
  ];
}

def AliasOpInterface : OpInterface<"AliasOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    Whether a result lies in the bytes of an operand, so that it takes no memory
    of its own. The operand is then overwritten: its storage becomes the
    result's, and is released with it.
  }];
  let methods = [
    InterfaceMethod<[{
        Number of the operand that the first result may overwrite: the kernel
        writes an element only after it has read it for the last time, and gives
        the same bits as into other bytes. None by default.
      }],
      "::std::optional<unsigned>", "getOverwritableOperand", (ins), "",
      "return ::std::nullopt;">,
    InterfaceMethod<[{
        Number of the operand that a result aliases, if any: the first result
        that which it may overwrite, where `moe.in_place` says that it does.
      }],
      "::std::optional<unsigned>", "getAliasedOperand",
      (ins "unsigned":$result), "", [{
        if (result != 0 || !$_op->hasAttr(::moe::kInPlaceName))
          return ::std::nullopt;
        return $_op.getOverwritableOperand();
      }]>,
  ];
}

def ScratchOpInterface : OpInterface<"ScratchOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    Memory that an op needs while it runs and that no value holds.
  }];
  let methods = [
    InterfaceMethod<[{
        Size and class; zero bytes by default. Each part of the scratch is
        rounded up to 256 bytes.
      }],
      "::moe::Scratch", "getScratch", (ins), "", "return {};">,
  ];
}

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::moe";
  let description = [{
    Builds the gradient ops of a forward op. They name the forward op's operands
    and results directly: which of them a backward region uses is what has to be
    saved, hence implementations use no more than the mathematics needs.

    New ops get the forward op's name with `.input_grad`, `.bias_scale_grad` or
    `.weight_grad` as their location (see `nameLoc`).
  }];
  let methods = [
    InterfaceMethod<[{
        Writes the gradient of each operand into `operandGradients`, which has
        one entry an operand; entries stay null where there is none (integers,
        handles, or a result gradient that is null). `resultGradients` has one
        entry a result, null where nothing depends on the result.
        Fails with a diagnostic when the gradients given do not suffice.
      }],
      "::llvm::LogicalResult", "buildInputGradients",
      (ins "::mlir::OpBuilder &":$builder,
           "::mlir::ValueRange":$resultGradients,
           "::mlir::MutableArrayRef<::mlir::Value>":$operandGradients)>,
    InterfaceMethod<[{
        Builds the ops that add to the gradients of the op's parameters; none by
        default.
      }],
      "::llvm::LogicalResult", "buildWeightGradients",
      (ins "::mlir::OpBuilder &":$builder,
           "::mlir::ValueRange":$resultGradients),
      "", "return ::mlir::success();">,
    InterfaceMethod<[{
        True for the op that differentiation starts at: its result gradients are
        null, and buildInputGradients builds nevertheless.
      }],
      "bool", "isSeed", (ins), "", "return false;">,
  ];
}

#endif // MOE_DIALECTS_MOE_IR_MOEINTERFACES_TD
