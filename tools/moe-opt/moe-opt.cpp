//===- moe-opt.cpp - runs passes over MoE IR ------------------------------===//

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"
#include "passes/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  // Functions are what tests of single ops are written in.
  registry.insert<moe::MoEDialect, moe::pipe::PipeDialect,
                  mlir::func::FuncDialect>();
  mlir::registerTransformsPasses();
  moe::registerAllMoEPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(
      argc, argv, "runs passes over mixture-of-experts IR\n", registry));
}
