//===- MoEOps.h - the ops of the moe dialect ---------------------*- C++
//-*-===//
#pragma once

#include "dialects/MoE/IR/MoEDialect.h"
#include "dialects/MoE/IR/MoEInterfaces.h"

#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"

namespace moe {
class YieldOp;
} // namespace moe

#define GET_OP_CLASSES
#include "dialects/MoE/IR/MoEOps.h.inc"
