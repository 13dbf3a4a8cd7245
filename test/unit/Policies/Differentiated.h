//===- Differentiated.h - layers with their backward ------------*- C++ -*-===//
#pragma once

#include "compiler/Export/IR/StagePrograms.h"
#include "compiler/Import/IR/ImportModel.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "driver/Inputs.h"
#include "passes/Passes.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Pass/PassManager.h"

#include <gtest/gtest.h>

#include <optional>

namespace moe::test {

/// Differentiated OLMoE, on four devices.
class Differentiated : public testing::Test {
protected:
  void SetUp() override {
    request.modelPath = "examples/models/olmoe-1b-7b.json";
    request.layout.expert = 4;
    request.layout.sequenceLength = 4096;
    Result<driver::Inputs> gathered = driver::gatherInputs(request);
    ASSERT_TRUE(gathered) << gathered.error().message;
    context.loadDialect<MoEDialect, pipe::PipeDialect>();
    module = importModel(context, gathered->config,
                         mlir::Builder(&context).getBF16Type());
    ASSERT_TRUE(module);
    (*module)->setAttr(
        pipe::LayoutAttr::kName,
        pipe::LayoutAttr::get(&context, 1, 4, 1, 1, 1, 1, 1, 4096));
    mlir::PassManager manager(&context);
    buildDifferentiation(manager, PlanPipelineOptions());
    ASSERT_TRUE(mlir::succeeded(manager.run(*module)));
    symbols.emplace(*module);
    machine = gathered->machine;
    for (BlockOp block : module->getOps<BlockOp>())
      if (block.getKind() == BlockKind::decoder)
        layers.push_back(block);
    ASSERT_GE(layers.size(), 3u);
  }

  driver::PlanRequest request;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::optional<mlir::SymbolTable> symbols;
  cost::Machine machine;
  TimingInputs timing{machine, 1.0, 4};
  llvm::SmallVector<BlockOp> layers;
};

} // namespace moe::test
