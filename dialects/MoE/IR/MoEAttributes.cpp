//===- MoEAttributes.cpp - attributes: text form and checks ---------------===//

#include "dialects/MoE/IR/MoE.h"

#include "llvm/ADT/TypeSwitch.h"

#include <charconv>
#include <cmath>

using namespace mlir;
using namespace moe;

//===----------------------------------------------------------------------===//
// Text form of parameters
//===----------------------------------------------------------------------===//

FailureOr<bool> moe::detail::parseBool(AsmParser &parser) {
  StringRef keyword;
  if (failed(parser.parseKeyword(&keyword, {"true", "false"})))
    return failure();
  return keyword == "true";
}

void moe::detail::printBool(AsmPrinter &printer, bool value) {
  printer << (value ? "true" : "false");
}

FailureOr<moe::detail::Real> moe::detail::parseReal(AsmParser &parser) {
  int64_t integer = 0;
  OptionalParseResult result = parser.parseOptionalInteger(integer);
  if (result.has_value()) {
    if (failed(*result))
      return failure();
    return Real(static_cast<double>(integer));
  }
  double value = 0;
  if (failed(parser.parseFloat(value)))
    return failure();
  return Real(value);
}

void moe::detail::printReal(AsmPrinter &printer, double value) {
  char buffer[64];
  char *end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  StringRef text(buffer, static_cast<size_t>(end - buffer));
  // The lexer takes a number for a real only if there is a point in it.
  size_t exponent = text.find('e');
  StringRef mantissa = text.take_front(exponent);
  printer << mantissa;
  if (!mantissa.contains('.'))
    printer << ".0";
  if (exponent != StringRef::npos)
    printer << text.drop_front(exponent);
}

#include "dialects/MoE/IR/MoEEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "dialects/MoE/IR/MoEAttrs.cpp.inc"

void MoEDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/MoE/IR/MoEAttrs.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Checks
//===----------------------------------------------------------------------===//

namespace {

/// Checks the fields of one attribute; the first error is the one reported.
struct FieldChecker {
  function_ref<InFlightDiagnostic()> emitError;
  LogicalResult result = success();

  FieldChecker &check(bool holds, const Twine &message) {
    if (succeeded(result) && !holds)
      result = emitError() << message;
    return *this;
  }
  FieldChecker &positive(StringRef field, int64_t value) {
    return check(value > 0, "`" + field + "` must be positive, is " +
                                Twine(value));
  }
  FieldChecker &notNegative(StringRef field, int64_t value) {
    return check(value >= 0, "`" + field + "` must not be negative, is " +
                                 Twine(value));
  }
  FieldChecker &positive(StringRef field, detail::Real value) {
    return check(std::isfinite(value.value) && value > 0,
                 "`" + field + "` must be a positive number, is " +
                     Twine(std::to_string(value.value)));
  }
  FieldChecker &notNegative(StringRef field, detail::Real value) {
    return check(std::isfinite(value.value) && value >= 0,
                 "`" + field + "` must be a number of 0 or more, is " +
                     Twine(std::to_string(value.value)));
  }
  FieldChecker &multiple(StringRef field, int64_t value, StringRef of,
                         int64_t divisor) {
    return check(divisor > 0 && value % divisor == 0,
                 "`" + field + "` = " + Twine(value) +
                     " must be a multiple of `" + of + "` = " + Twine(divisor));
  }
};

} // namespace

LogicalResult RowsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                               int64_t balanced, int64_t capacity) {
  return FieldChecker{emitError}
      .notNegative("balanced", balanced)
      .positive("capacity", capacity)
      .check(balanced <= capacity, "`capacity` = " + Twine(capacity) +
                                       " must be at least `balanced` = " +
                                       Twine(balanced))
      .result;
}

LogicalResult
RowsAttr::verifyEncoding(ArrayRef<int64_t> shape, Type elementType,
                         function_ref<InFlightDiagnostic()> emitError) const {
  if (shape.empty() || !ShapedType::isDynamic(shape.front()))
    return emitError() << "a tensor with #moe.rows must have a dynamic leading "
                          "dimension";
  if (ShapedType::isDynamicShape(shape.drop_front()))
    return emitError() << "a tensor with #moe.rows must have static dimensions "
                          "behind the leading one";
  return success();
}

LogicalResult
InitializerAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                        InitializerKind kind, detail::Real deviation) {
  FieldChecker checker{emitError};
  if (kind == InitializerKind::normal)
    return checker.positive("standard_deviation", deviation).result;
  return checker
      .check(deviation == 0, "`standard_deviation` belongs to `normal` only")
      .result;
}

LogicalResult RotaryAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t begin, int64_t dim, bool interleaved,
                                 detail::Real theta, detail::Real yarnFactor,
                                 int64_t yarnOriginalLength,
                                 detail::Real yarnBetaFast,
                                 detail::Real yarnBetaSlow, bool yarnTruncate,
                                 detail::Real attentionScale) {
  FieldChecker checker{emitError};
  checker.notNegative("begin", begin)
      .positive("dim", dim)
      .check(dim % 2 == 0, "`dim` must be even, is " + Twine(dim))
      .positive("theta", theta)
      .check(yarnFactor >= 1, "`yarn_factor` must be 1 or more, is " +
                                  Twine(std::to_string(yarnFactor)))
      .notNegative("yarn_original_length", yarnOriginalLength)
      .positive("yarn_beta_fast", yarnBetaFast)
      .positive("yarn_beta_slow", yarnBetaSlow)
      .positive("attention_scale", attentionScale);
  if (yarnFactor > 1)
    checker.positive("yarn_original_length", yarnOriginalLength);
  return checker.result;
}

LogicalResult RoutingAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t topK, Scoring scoring, bool normalize,
                                  int64_t groups, int64_t topGroups,
                                  GroupScore groupScore, detail::Real scale) {
  return FieldChecker{emitError}
      .positive("top_k", topK)
      .positive("groups", groups)
      .positive("top_groups", topGroups)
      .check(topGroups <= groups, "`top_groups` = " + Twine(topGroups) +
                                      " must not exceed `groups` = " +
                                      Twine(groups))
      .positive("scale", scale)
      .result;
}

LogicalResult SwigluAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 detail::Real limit, detail::Real alpha,
                                 detail::Real upOffset) {
  return FieldChecker{emitError}
      .notNegative("limit", limit)
      .positive("alpha", alpha)
      .check(std::isfinite(upOffset.value), "`up_offset` must be finite")
      .result;
}

LogicalResult GqaAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              int64_t heads, int64_t kvHeads, int64_t headDim,
                              bool qkvBias, bool outBias, QKNorm qkNorm,
                              bool sinks, int64_t window,
                              detail::Real softmaxScale, RotaryAttr rotary) {
  return FieldChecker{emitError}
      .positive("heads", heads)
      .positive("kv_heads", kvHeads)
      .multiple("heads", heads, "kv_heads", kvHeads)
      .positive("head_dim", headDim)
      .notNegative("window", window)
      .positive("softmax_scale", softmaxScale)
      .check(rotary.getBegin() + rotary.getDim() <= headDim,
             "`rotary` ends at column " +
                 Twine(rotary.getBegin() + rotary.getDim()) +
                 " of a head with `head_dim` = " + Twine(headDim))
      .result;
}

LogicalResult MlaAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              int64_t heads, int64_t qLoraRank,
                              int64_t kvLoraRank, int64_t nopeDim,
                              int64_t ropeDim, int64_t vDim,
                              detail::Real softmaxScale, RotaryAttr rotary) {
  return FieldChecker{emitError}
      .positive("heads", heads)
      .notNegative("q_lora_rank", qLoraRank)
      .positive("kv_lora_rank", kvLoraRank)
      .positive("nope_dim", nopeDim)
      .positive("rope_dim", ropeDim)
      .positive("v_dim", vDim)
      .positive("softmax_scale", softmaxScale)
      .check(rotary.getBegin() == 0 && rotary.getDim() == ropeDim,
             "`rotary` must cover all of `rope_dim` = " + Twine(ropeDim) +
                 " columns, covers " + Twine(rotary.getDim()) + " from " +
                 Twine(rotary.getBegin()))
      .result;
}

LogicalResult DenseAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                int64_t intermediate) {
  return FieldChecker{emitError}.positive("intermediate", intermediate).result;
}

LogicalResult ExpertsAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                  int64_t count, int64_t intermediate,
                                  int64_t sharedIntermediate,
                                  RoutingAttr routing, bool correctionBias,
                                  bool routerBias, bool expertBias,
                                  SwigluAttr activation) {
  return FieldChecker{emitError}
      .positive("count", count)
      .positive("intermediate", intermediate)
      .notNegative("shared_intermediate", sharedIntermediate)
      .check(routing.getTopK() <= count,
             "`routing` has top_k = " + Twine(routing.getTopK()) +
                 ", more than `count` = " + Twine(count))
      .multiple("count", count, "groups", routing.getGroups())
      .result;
}
