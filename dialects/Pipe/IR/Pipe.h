//===- Pipe.h - the pipe dialect --------------------------------*- C++ -*-===//
#pragma once

#include "dialects/MoE/IR/MoEInterfaces.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/Pipe/IR/PipeEnums.h.inc"

#include "dialects/Pipe/IR/PipeDialect.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/Pipe/IR/PipeAttrs.h.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/Pipe/IR/PipeTypes.h.inc"

#define GET_OP_CLASSES
#include "dialects/Pipe/IR/PipeOps.h.inc"

namespace moe::pipe {

/// The type of what a value on the host holds; of any other value, its own.
inline mlir::Type getContent(mlir::Type type) {
  auto host = llvm::dyn_cast<HostType>(type);
  return host ? host.getContent() : type;
}

} // namespace moe::pipe
