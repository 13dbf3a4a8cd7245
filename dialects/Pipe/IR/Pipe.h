//===- Pipe.h - the pipe dialect --------------------------------*- C++ -*-===//
#pragma once

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/Pipe/IR/PipeEnums.h.inc"

#include "dialects/Pipe/IR/PipeDialect.h.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/Pipe/IR/PipeAttrs.h.inc"

#define GET_OP_CLASSES
#include "dialects/Pipe/IR/PipeOps.h.inc"
