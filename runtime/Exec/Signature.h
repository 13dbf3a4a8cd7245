//===- Signature.h - what each op kind takes and does -----------*- C++ -*-===//
//
// The table that turns an op of the plan into a call. One entry per kind of the
// moe dialect that computes; everything that can be wrong with an op is found
// from its entry before anything runs.
//
// Operands are written "name type dims... [from=origin]":
//   ?     in front: may be absent
//   type  s: the plan's storage type; f: f32, or f64 when storage is f64;
//         i: i32; x: s or f, the same for all x of an op; a: any, the same
//         for all a of an op
//   dims  names, numbers and products ("2*F", "heads*n") that must hold at
//         once; a name stands for one number within an op. "*" alone: any
//         shape, the same for all such operands.
//   from=dispatch, from=route, from=load: only a value made by such an op or
//         step, because its numbers are used as indices.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Comm/Transport.h"
#include "runtime/Exec/Attributes.h"

#include <map>
#include <optional>
#include <span>
#include <string>

namespace moe::exec {

/// The names of a signature's dims, with their numbers.
using Dimensions = std::map<std::string, int64_t, std::less<>>;

/// Host memory that dispatch keeps from call to call.
struct ExchangeBuffers {
  std::vector<int32_t> counts; ///< rows sent, [source rank][expert]
  std::vector<comm::SendSegment> sends;
  std::vector<comm::ReceiveSegment> receives;
};

/// Everything that a call needs. Tensors stand in the order of the plan; an
/// absent one has no data. Calls on different streams overlap: an entry touches
/// nothing but these, and `buffers` and collectives only if it `exchanges`.
struct CallContext {
  const kernels::KernelTable &kernels;
  const kernels::Parallel &parallel;
  const Attributes &attributes;
  std::string_view op;
  std::span<const kernels::Tensor> inputs, outputs, weights, gradients;
  std::byte *scratch = nullptr;
  // For the exchange of rows.
  comm::Transport &transport;
  const comm::Group &expertGroup;
  int64_t expertRank = 0;
  ExchangeBuffers &buffers;
};

/// One entry of the table.
struct Signature {
  /// Conditions beyond shapes; may complete the attributes.
  using Check = Status (*)(const Dimensions &, Attributes &);
  /// Bytes of scratch that the call uses.
  using Scratch = int64_t (*)(const Dimensions &, int64_t storageBytes,
                              int64_t wideBytes);
  using Call = Status (*)(const CallContext &);

  std::string_view kind;
  std::vector<std::string_view> inputs = {}, parameters = {}, outputs = {};
  AttributeRules attributes = {};
  Call call = nullptr;
  bool accumulates = false; ///< into the gradients of its parameters
  bool exchanges = false;   ///< meets the other ranks of its expert group
  /// Number of the input whose bytes the first output may take over: an element
  /// is written after it was read for the last time.
  std::optional<size_t> overwritable = std::nullopt;
  /// Of a copy between device and host: the stream that it must be on.
  std::optional<plan::Stream> copies = std::nullopt;
  Check check = nullptr;
  Scratch scratch = nullptr;
};

/// The entry of a kind, or null.
const Signature *findSignature(std::string_view kind);

/// The table, in parts.
std::vector<Signature> denseSignatures();
std::vector<Signature> attentionSignatures();
std::vector<Signature> expertSignatures();
std::vector<Signature> copySignatures();

} // namespace moe::exec
