//===- ImportModel.h - a configuration as Level A IR ------------*- C++ -*-===//
#pragma once

#include "compiler/Import/ModelConfig.h"
#include "dialects/MoE/IR/MoE.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

namespace moe {

/// A module that holds `config` as one `moe.model`. Hidden values have the
/// element type `storage` (bf16, f32 or f64). `tokens` is the length of the
/// model's inputs, kDynamic where it does not matter yet. The dialect must be
/// loaded. Null, with a diagnostic, where the model does not verify.
mlir::OwningOpRef<mlir::ModuleOp>
importModel(mlir::MLIRContext &context, const model::ModelConfig &config,
            mlir::Type storage, int64_t tokens = mlir::ShapedType::kDynamic);

/// The numbers of parameters of a Level A model, computed from its ops.
model::ParameterCounts countParameters(ModelOp model);

} // namespace moe
