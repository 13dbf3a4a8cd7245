//===- Passes.h - all passes of the project ---------------------*- C++ -*-===//
#pragma once

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "mlir/Pass/Pass.h"

#include <memory>

namespace moe {

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

/// Options of the whole way from layers to a verified plan.
struct PlanPipelineOptions
    : public mlir::PassPipelineOptions<PlanPipelineOptions> {
  Option<double> capacityFactor{
      *this, "capacity-factor",
      llvm::cl::desc("Rows planned behind a dispatch, as a multiple of the "
                     "balanced rows; 0: the most that routing can produce"),
      llvm::cl::init(1.25)};
  Option<double> mtpWeight{
      *this, "mtp-weight",
      llvm::cl::desc("Weight of the losses of all multi-token prediction "
                     "modules together beside the main loss"),
      llvm::cl::init(0.3)};
  Option<std::string> schedule{*this, "schedule",
                               llvm::cl::desc("Schedule: gpipe or 1f1b"),
                               llvm::cl::init("1f1b")};
};

/// From a module with one moe.model and a pipe.layout to verified stages and
/// ranks, ready for emission.
void buildPlanPipeline(mlir::OpPassManager &manager,
                       const PlanPipelineOptions &options);

/// Registers every pass and the pipeline `moe-plan`.
void registerAllMoEPasses();

} // namespace moe
