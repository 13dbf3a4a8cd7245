//===- MoEAttributes.cpp - attributes: text form and checks ---------------===//

#include "dialects/MoE/IR/MoE.h"

#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/Format.h"

#include <charconv>
#include <cmath>

using namespace mlir;
using namespace moe;

//===----------------------------------------------------------------------===//
// Text form of parameters
//===----------------------------------------------------------------------===//

FailureOr<bool> moe::detail::parseBool(AsmParser &parser) {
  if (succeeded(parser.parseOptionalKeyword("true")))
    return true;
  if (failed(parser.parseKeyword("false", " or 'true'")))
    return failure();
  return false;
}

void moe::detail::printBool(AsmPrinter &printer, bool value) {
  printer << (value ? "true" : "false");
}

FailureOr<moe::detail::Real> moe::detail::parseReal(AsmParser &parser) {
  double value = 0;
  if (failed(parser.parseFloat(value)))
    return failure();
  return Real(value);
}

void moe::detail::printReal(raw_ostream &stream, double value) {
  // Infinities and NaNs have no digits; MLIR writes their bits.
  if (!std::isfinite(value)) {
    stream << llvm::format_hex(std::bit_cast<uint64_t>(value), 18,
                               /*Upper=*/true);
    return;
  }
  // Digits with a point read best unless there are too many of them.
  double size = std::abs(value);
  bool plain = size == 0 || (size >= 1e-4 && size < 1e9);
  char buffer[64];
  char *end = std::to_chars(buffer, buffer + sizeof buffer, value,
                            plain ? std::chars_format::fixed
                                  : std::chars_format::scientific)
                  .ptr;
  StringRef text(buffer, static_cast<size_t>(end - buffer));
  // The lexer takes a number for a real only if there is a point in it.
  size_t exponent = text.find('e');
  StringRef mantissa = text.take_front(exponent);
  stream << mantissa;
  if (!mantissa.contains('.'))
    stream << ".0";
  if (exponent != StringRef::npos)
    stream << text.drop_front(exponent);
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
    return check(value > 0,
                 "`" + field + "` must be positive, is " + Twine(value));
  }
  FieldChecker &notNegative(StringRef field, int64_t value) {
    return check(value >= 0,
                 "`" + field + "` must not be negative, is " + Twine(value));
  }
  FieldChecker &positive(StringRef field, moe::detail::Real value) {
    return number(field, value, value > 0, "a positive number");
  }
  FieldChecker &notNegative(StringRef field, moe::detail::Real value) {
    return number(field, value, value >= 0, "a number of 0 or more");
  }
  FieldChecker &number(StringRef field, moe::detail::Real value, bool holds,
                       StringRef what) {
    if (succeeded(result) && !(std::isfinite(value.value) && holds)) {
      std::string text;
      llvm::raw_string_ostream stream(text);
      moe::detail::printReal(stream, value);
      result = emitError() << "`" << field << "` must be " << what << ", is "
                           << text;
    }
    return *this;
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
      .check(balanced <= capacity,
             "`capacity` = " + Twine(capacity) +
                 " must be at least `balanced` = " + Twine(balanced))
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
                        InitializerKind kind, moe::detail::Real deviation) {
  FieldChecker checker{emitError};
  if (kind == InitializerKind::normal)
    return checker.positive("standard_deviation", deviation).result;
  return checker
      .check(deviation.value == 0,
             "`standard_deviation` belongs to `normal` only")
      .result;
}

LogicalResult
RotaryAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t begin,
                   int64_t dim, bool interleaved, moe::detail::Real theta,
                   moe::detail::Real yarnFactor, int64_t yarnOriginalLength,
                   moe::detail::Real yarnBetaFast,
                   moe::detail::Real yarnBetaSlow, bool yarnTruncate,
                   moe::detail::Real attentionScale) {
  FieldChecker checker{emitError};
  checker.notNegative("begin", begin)
      .positive("dim", dim)
      .check(dim % 2 == 0, "`dim` must be even, is " + Twine(dim))
      .positive("theta", theta)
      .number("yarn_factor", yarnFactor, yarnFactor >= 1,
              "a number of 1 or more")
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
                                  GroupScore groupScore,
                                  moe::detail::Real scale) {
  return FieldChecker{emitError}
      .positive("top_k", topK)
      .positive("groups", groups)
      .positive("top_groups", topGroups)
      .check(topGroups <= groups,
             "`top_groups` = " + Twine(topGroups) +
                 " must not exceed `groups` = " + Twine(groups))
      .positive("scale", scale)
      .result;
}

LogicalResult SwigluAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 moe::detail::Real limit,
                                 moe::detail::Real alpha,
                                 moe::detail::Real upOffset) {
  return FieldChecker{emitError}
      .notNegative("limit", limit)
      .positive("alpha", alpha)
      .number("up_offset", upOffset, true, "a finite number")
      .result;
}

LogicalResult GqaAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                              int64_t heads, int64_t kvHeads, int64_t headDim,
                              bool qkvBias, bool outBias, QKNorm qkNorm,
                              bool sinks, int64_t window,
                              moe::detail::Real softmaxScale,
                              RotaryAttr rotary) {
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
                              moe::detail::Real softmaxScale,
                              RotaryAttr rotary) {
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
