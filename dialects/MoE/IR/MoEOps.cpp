//===- MoEOps.cpp - the ops of the moe dialect: text form -----------------===//

#include "dialects/MoE/IR/MoE.h"

using namespace mlir;
using namespace moe;

//===----------------------------------------------------------------------===//
// Directives of assembly formats
//===----------------------------------------------------------------------===//

/// `(%a: type, ...) { ops }`
static ParseResult parseProgram(OpAsmParser &parser, Region &region) {
  SmallVector<OpAsmParser::Argument> arguments;
  if (parser.parseArgumentList(arguments, OpAsmParser::Delimiter::Paren,
                               /*allowType=*/true))
    return failure();
  return parser.parseRegion(region, arguments);
}

static void printProgram(OpAsmPrinter &printer, Operation *, Region &region) {
  printer << '(';
  llvm::interleaveComma(region.getArguments(), printer, [&](BlockArgument arg) {
    printer.printRegionArgument(arg);
  });
  printer << ") ";
  printer.printRegion(region, /*printEntryBlockArgs=*/false);
}

/// Programs by name; one that is empty is left out.
static ParseResult parsePrograms(OpAsmParser &parser, Region &forward,
                                 Region &backward, Region &weightGrad) {
  if (succeeded(parser.parseOptionalKeyword("forward")) &&
      parseProgram(parser, forward))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("backward")) &&
      parseProgram(parser, backward))
    return failure();
  if (succeeded(parser.parseOptionalKeyword("weight_grad")) &&
      parseProgram(parser, weightGrad))
    return failure();
  return success();
}

static void printPrograms(OpAsmPrinter &printer, Operation *op, Region &forward,
                          Region &backward, Region &weightGrad) {
  auto print = [&](StringRef name, Region &region) {
    if (region.empty())
      return;
    printer.printNewline();
    printer << name;
    printProgram(printer, op, region);
  };
  print("forward", forward);
  print("backward", backward);
  print("weight_grad", weightGrad);
}

/// A real with as few digits as give the same number back.
static ParseResult parseReal(OpAsmParser &parser, FloatAttr &value) {
  double number = 0;
  if (parser.parseFloat(number))
    return failure();
  value = parser.getBuilder().getF64FloatAttr(number);
  return success();
}

static void printReal(OpAsmPrinter &printer, Operation *, FloatAttr value) {
  moe::detail::printReal(printer.getStream(), value.getValueAsDouble());
}

/// `(hidden, tokens)`, an array of strings.
static ParseResult parseRoles(OpAsmParser &parser, ArrayAttr &roles) {
  SmallVector<Attribute> names;
  auto parseRole = [&]() -> ParseResult {
    StringRef name;
    if (parser.parseKeyword(&name))
      return failure();
    names.push_back(parser.getBuilder().getStringAttr(name));
    return success();
  };
  if (parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Paren, parseRole))
    return failure();
  roles = parser.getBuilder().getArrayAttr(names);
  return success();
}

static void printRoles(OpAsmPrinter &printer, Operation *, ArrayAttr roles) {
  printer << '(';
  llvm::interleaveComma(roles.getAsValueRange<StringAttr>(), printer);
  printer << ')';
}

//===----------------------------------------------------------------------===//
// Definitions
//===----------------------------------------------------------------------===//

#define GET_OP_CLASSES
#include "dialects/MoE/IR/MoEOps.cpp.inc"

void MoEDialect::registerOps() {
  addOperations<
#define GET_OP_LIST
#include "dialects/MoE/IR/MoEOps.cpp.inc"
      >();
}
