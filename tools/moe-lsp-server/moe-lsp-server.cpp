//===- moe-lsp-server.cpp - editor support for MoE IR ---------------------===//

#include "dialects/MoE/IR/MoE.h"
#include "dialects/Pipe/IR/Pipe.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<moe::MoEDialect, moe::pipe::PipeDialect,
                  mlir::func::FuncDialect>();
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
