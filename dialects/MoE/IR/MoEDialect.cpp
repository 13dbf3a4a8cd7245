//===- MoEDialect.cpp - the moe dialect, its types and their sizes --------===//

#include "dialects/MoE/IR/MoE.h"

#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace moe;

#include "dialects/MoE/IR/MoEDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "dialects/MoE/IR/MoETypes.cpp.inc"

void MoEDialect::initialize() {
  registerTypes();
  registerAttributes();
  registerOps();
}

LogicalResult MoEDialect::verifyOperationAttribute(Operation *op,
                                                   NamedAttribute attribute) {
  if (attribute.getName() != kInPlaceName)
    return success();
  auto alias = dyn_cast<AliasOpInterface>(op);
  std::optional<unsigned> operand =
      alias ? alias.getOverwritableOperand() : std::nullopt;
  if (!isa<UnitAttr>(attribute.getValue()) || !operand)
    return op->emitOpError() << "has '" << kInPlaceName
                             << "', which is a unit attribute of ops that may "
                                "overwrite an operand";
  if (op->getOperand(*operand).getType() != op->getResult(0).getType())
    return op->emitOpError()
           << "overwrites operand " << *operand << " of type "
           << op->getOperand(*operand).getType() << " with a result of type "
           << op->getResult(0).getType();
  return success();
}

void MoEDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/MoE/IR/MoETypes.cpp.inc"
      >();
}

LogicalResult HandleType::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t tokens, int64_t topK,
                                 int64_t experts) {
  if (tokens <= 0)
    return emitError() << "tokens of a handle must be positive, is " << tokens;
  if (experts <= 0)
    return emitError() << "experts of a handle must be positive, is "
                       << experts;
  if (topK <= 0 || topK > experts)
    return emitError() << "top_k of a handle must lie in [1, experts = "
                       << experts << "], is " << topK;
  return success();
}

RowsAttr moe::getRows(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor ? dyn_cast_if_present<RowsAttr>(tensor.getEncoding())
                : RowsAttr();
}

/// The shape with the rows of a tensor with #moe.rows replaced.
static SmallVector<int64_t> getShape(RankedTensorType type, bool balanced) {
  SmallVector<int64_t> shape(type.getShape());
  if (RowsAttr rows = getRows(type))
    shape.front() = balanced ? rows.getBalanced() : rows.getCapacity();
  return shape;
}

static int64_t getBytes(Type type, bool balanced) {
  if (auto handle = dyn_cast<HandleType>(type))
    return handle.getElements() * 4;
  auto tensor = cast<RankedTensorType>(type);
  int64_t elements = 1;
  for (int64_t size : getShape(tensor, balanced)) {
    assert(size != ShapedType::kDynamic && "a size without a bound");
    elements *= size;
  }
  return elements * (tensor.getElementTypeBitWidth() / 8);
}

int64_t moe::getCapacityRows(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || tensor.getRank() == 0)
    return 1;
  return getCapacityShape(tensor).front();
}

SmallVector<int64_t> moe::getCapacityShape(RankedTensorType type) {
  return getShape(type, /*balanced=*/false);
}

int64_t moe::getByteSize(Type type) {
  return getBytes(type, /*balanced=*/false);
}

int64_t moe::getBalancedByteSize(Type type) {
  return getBytes(type, /*balanced=*/true);
}

Type moe::getSumType(Type storage) {
  return storage.isF64() ? storage
                         : Type(Float32Type::get(storage.getContext()));
}

RankedTensorType moe::getRowsType(RowsAttr rows, ArrayRef<int64_t> trailing,
                                  Type element) {
  SmallVector<int64_t> shape{ShapedType::kDynamic};
  llvm::append_range(shape, trailing);
  return RankedTensorType::get(shape, element, rows);
}
