#include "runtime/Exec/Exchange.h"

#include <algorithm>
#include <cmath>

namespace moe::exec {
namespace {

using kernels::Tensor;

/// Which way rows travel: from staging to the experts, or back.
enum class Direction { to_experts, to_tokens };

/// The part of the handle behind the positions of assignments.
int32_t *sentCounts(const CallContext &call, const Tensor &handle) {
  const kernels::Exchange &exchange = call.attributes.exchange;
  return handle.as<int32_t>() + exchange.tokens * exchange.topK;
}
int32_t *receivedCounts(const CallContext &call, const Tensor &handle) {
  return sentCounts(call, handle) + call.attributes.exchange.experts;
}

/// A view of the scratch: rows like `like` for every assignment.
Tensor stagingRows(const CallContext &call, const Tensor &like) {
  const kernels::Exchange &exchange = call.attributes.exchange;
  Tensor staging = like;
  staging.data = call.scratch;
  staging.dims[0] = exchange.tokens * exchange.topK;
  return staging;
}

/// A view of the scratch behind the rows: one number for every assignment.
Tensor stagingScalars(const CallContext &call, const Tensor &rows,
                      const Tensor &like) {
  Tensor staging = like;
  staging.data =
      call.scratch + plan::alignUp(rows.elements() * byteSize(rows.dtype));
  staging.rank = 1;
  staging.dims = {rows.dim(0)};
  return staging;
}

int64_t rowBytes(const Tensor &tensor) {
  return (tensor.rank > 1 ? tensor.dim(1) : 1) * byteSize(tensor.dtype);
}

/// Moves rows between `staging`, which lies in send order on every rank, and
/// `rows`, which lie grouped by local expert and inside by source rank.
Status moveRows(const CallContext &call, Direction direction,
                const Tensor &staging, const Tensor &rows,
                const Tensor &handle) {
  const kernels::Exchange &exchange = call.attributes.exchange;
  int64_t local = exchange.localExperts(), width = rowBytes(rows);
  auto &sends = call.buffers.sends;
  auto &receives = call.buffers.receives;
  sends.clear();
  receives.clear();
  auto add = [&](int64_t rank, std::byte *data, int64_t count, bool isSend) {
    int64_t peer = call.expertGroup[static_cast<size_t>(rank)];
    if (isSend)
      sends.push_back({peer, data, count * width});
    else
      receives.push_back({peer, data, count * width});
  };

  bool outward = direction == Direction::to_experts;
  std::byte *at = staging.as<std::byte>();
  const int32_t *sent = sentCounts(call, handle);
  for (int64_t expert = 0; expert < exchange.experts; ++expert) {
    add(expert / local, at, sent[expert], outward);
    at += sent[expert] * width;
  }
  at = rows.as<std::byte>();
  const int32_t *received = receivedCounts(call, handle);
  for (int64_t expert = 0; expert < local; ++expert)
    for (int64_t source = 0; source < exchange.ranks; ++source) {
      int64_t count = received[source * local + expert];
      add(source, at, count, !outward);
      at += count * width;
    }
  return call.transport.exchange(call.expertGroup, sends, receives, call.op);
}

/// What the user can do about too many rows on a rank.
Error overflow(const CallContext &call, int64_t rank, int64_t rows) {
  const kernels::Exchange &exchange = call.attributes.exchange;
  double balanced = static_cast<double>(exchange.tokens * exchange.topK);
  int64_t hundredths = static_cast<int64_t>(
      std::ceil(static_cast<double>(rows) / balanced * 100));
  std::string digits = std::to_string(hundredths % 100);
  std::string factor = std::to_string(hundredths / 100) + "." +
                       std::string(2 - digits.size(), '0') + digits;
  return {"routing sends " + std::to_string(rows) + " rows to rank " +
          std::to_string(call.expertGroup[static_cast<size_t>(rank)]) +
          " (expert-parallel rank " + std::to_string(rank) +
          "), but the plan has room for " + std::to_string(exchange.capacity) +
          "; plan again with a capacity factor of at least " + factor};
}

/// Tells all ranks how many rows go where; fills the handle's received counts
/// and `counts`. Every rank sees all counts, so that all find the same
/// overflow.
Status exchangeCounts(const CallContext &call, const Tensor &handle,
                      const Tensor &counts) {
  const kernels::Exchange &exchange = call.attributes.exchange;
  int64_t experts = exchange.experts, local = exchange.localExperts();
  auto &all = call.buffers.counts;
  all.resize(static_cast<size_t>(exchange.ranks * experts));
  auto &sends = call.buffers.sends;
  auto &receives = call.buffers.receives;
  sends.clear();
  receives.clear();
  int64_t bytes = experts * byteSize(DType::i32);
  for (int64_t q = 0; q < exchange.ranks; ++q) {
    int64_t peer = call.expertGroup[static_cast<size_t>(q)];
    sends.push_back(
        {peer, reinterpret_cast<std::byte *>(sentCounts(call, handle)), bytes});
    receives.push_back(
        {peer, reinterpret_cast<std::byte *>(all.data() + q * experts), bytes});
  }
  MOE_RETURN_IF_ERROR(
      call.transport.exchange(call.expertGroup, sends, receives, call.op));

  int64_t largest = 0, fullest = 0;
  for (int64_t rank = 0; rank < exchange.ranks; ++rank) {
    int64_t rows = 0;
    for (int64_t source = 0; source < exchange.ranks; ++source)
      for (int64_t e = rank * local; e < (rank + 1) * local; ++e)
        rows += all[static_cast<size_t>(source * experts + e)];
    if (rows > largest) {
      largest = rows;
      fullest = rank;
    }
  }
  if (largest > exchange.capacity)
    return overflow(call, fullest, largest);

  int32_t *received = receivedCounts(call, handle);
  std::fill_n(counts.as<int32_t>(), local, 0);
  for (int64_t source = 0; source < exchange.ranks; ++source)
    for (int64_t e = 0; e < local; ++e) {
      int32_t count = all[static_cast<size_t>(source * experts +
                                              call.expertRank * local + e)];
      received[source * local + e] = count;
      counts.as<int32_t>()[e] += count;
    }
  return {};
}

/// A router that met a NaN may leave anything in its choices.
Status checkChoices(const CallContext &call, const Tensor &chosen) {
  for (int64_t i = 0; i < chosen.elements(); ++i) {
    int32_t expert = chosen.as<int32_t>()[i];
    if (expert < 0 || expert >= call.attributes.exchange.experts)
      return Error{"the router chose expert " + std::to_string(expert) +
                   " of " + std::to_string(call.attributes.exchange.experts) +
                   "; its logits are not finite"};
  }
  return {};
}

} // namespace

Status dispatch(const CallContext &call) {
  const auto &k = call.kernels;
  const kernels::Exchange &exchange = call.attributes.exchange;
  const Tensor &x = call.inputs[0], &probabilities = call.inputs[1];
  const Tensor &rows = call.outputs[0], &rowProbabilities = call.outputs[1];
  const Tensor &handle = call.outputs[3];
  MOE_RETURN_IF_ERROR(checkChoices(call, call.inputs[2]));
  k.planExchange(call.parallel, call.inputs[2], exchange, handle);
  MOE_RETURN_IF_ERROR(exchangeCounts(call, handle, call.outputs[2]));
  Tensor staging = stagingRows(call, x);
  Tensor scalars = stagingScalars(call, staging, probabilities);
  k.gatherRows(call.parallel, x, handle, exchange, staging);
  k.gatherScalars(call.parallel, probabilities, handle, exchange, scalars);
  MOE_RETURN_IF_ERROR(
      moveRows(call, Direction::to_experts, staging, rows, handle));
  return moveRows(call, Direction::to_experts, scalars, rowProbabilities,
                  handle);
}

Status dispatchInputGrad(const CallContext &call) {
  const auto &k = call.kernels;
  const kernels::Exchange &exchange = call.attributes.exchange;
  const Tensor &rows = call.inputs[0], &rowProbabilities = call.inputs[1];
  const Tensor &handle = call.inputs[2];
  const Tensor &x = call.outputs[0], &probabilities = call.outputs[1];
  Tensor staging = stagingRows(call, x);
  Tensor scalars = stagingScalars(call, staging, probabilities);
  MOE_RETURN_IF_ERROR(
      moveRows(call, Direction::to_tokens, staging, rows, handle));
  MOE_RETURN_IF_ERROR(
      moveRows(call, Direction::to_tokens, scalars, rowProbabilities, handle));
  k.reduceRows(call.parallel, staging, handle, exchange, x);
  k.scatterScalars(call.parallel, scalars, handle, exchange, probabilities);
  return {};
}

Status combine(const CallContext &call) {
  const Tensor &handle = call.inputs[1], &out = call.outputs[0];
  Tensor staging = stagingRows(call, out);
  MOE_RETURN_IF_ERROR(
      moveRows(call, Direction::to_tokens, staging, call.inputs[0], handle));
  call.kernels.reduceRows(call.parallel, staging, handle,
                          call.attributes.exchange, out);
  return {};
}

Status combineInputGrad(const CallContext &call) {
  const Tensor &out = call.inputs[0], &handle = call.inputs[1];
  Tensor staging = stagingRows(call, out);
  call.kernels.gatherRows(call.parallel, out, handle, call.attributes.exchange,
                          staging);
  return moveRows(call, Direction::to_experts, staging, call.outputs[0],
                  handle);
}

int64_t stagingBytes(const Dimensions &d, int64_t storageBytes, int64_t) {
  return plan::alignUp(d.at("T") * d.at("k") * d.at("H") * storageBytes);
}

int64_t stagingBytesWithScalars(const Dimensions &d, int64_t storageBytes,
                                int64_t wideBytes) {
  return stagingBytes(d, storageBytes, wideBytes) +
         plan::alignUp(d.at("T") * d.at("k") * wideBytes);
}

} // namespace moe::exec
