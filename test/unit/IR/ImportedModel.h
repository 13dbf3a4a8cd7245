//===- ImportedModel.h - a model that passes begin with ---------*- C++ -*-===//
#pragma once

#include "compiler/Import/IR/ImportModel.h"
#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "driver/Inputs.h"

#include "mlir/IR/Builders.h"

#include <gtest/gtest.h>

#include <optional>

namespace moe::test {

/// OLMoE on four pipeline ranks, eight microbatches of 64 tokens.
struct ImportedModel {
  ImportedModel() {
    request.modelPath = "examples/models/olmoe-1b-7b.json";
    Result<driver::Inputs> read = driver::gatherInputs(request);
    EXPECT_TRUE(read);
    if (!read)
      return;
    inputs.emplace(std::move(*read));
    context.loadDialect<MoEDialect, pipe::PipeDialect>();
    module = importModel(context, inputs->config,
                         mlir::Builder(&context).getBF16Type());
    EXPECT_TRUE(module);
    if (module)
      (*module)->setAttr(
          pipe::LayoutAttr::kName,
          pipe::LayoutAttr::get(&context, 4, 1, 1, 1, 1, 8, 1, 64));
  }

  driver::PlanRequest request;
  std::optional<driver::Inputs> inputs;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

} // namespace moe::test
