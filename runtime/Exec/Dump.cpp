#include "runtime/Exec/Dump.h"

#include "runtime/Exec/Npy.h"
#include "support/TokenRole.h"

namespace moe::exec {

using kernels::Tensor;

/// Expert shards travel to expert-parallel rank 0 one after the other.
static Status dumpOne(Executor &executor, const Parameters::Entry &entry,
                      const Tensor &tensor, const std::string &directory) {
  const comm::Coordinates &at = executor.coordinates();
  const comm::Topology &topology = executor.binding().topology();
  const std::string &name = entry.parameter->name;
  bool isDense = entry.parameter->replication == plan::Replication::dense;
  if (at.data != 0 || (isDense && at.expert != 0))
    return {};
  comm::Transport &wire = executor.transport();
  size_t bytes =
      static_cast<size_t>(tensor.elements() * byteSize(tensor.dtype));
  if (at.expert != 0) {
    Result<comm::SendHandle> send =
        wire.postSend({tensor.as<std::byte>(), bytes},
                      topology.rank({at.pipeline, 0, 0}), 0, name);
    return send ? wire.waitSend(*send, name) : Status(send.error());
  }
  std::vector<int64_t> shape = entry.parameter->shape;
  int64_t shards = isDense ? 1 : topology.expert;
  if (!shape.empty())
    shape[0] *= shards;
  DType stored = tensor.dtype == DType::f64 ? DType::f64 : DType::f32;
  Result<NpyWriter> file = NpyWriter::create(directory, name, stored, shape);
  if (!file)
    return file.error();
  MOE_RETURN_IF_ERROR(
      file->append(tensor.data, tensor.elements(), tensor.dtype));
  std::vector<std::byte> shard(shards > 1 ? bytes : 0);
  for (int64_t ep = 1; ep < shards; ++ep) {
    MOE_RETURN_IF_ERROR(
        wire.receive(shard, topology.rank({at.pipeline, ep, 0}), 0, name));
    MOE_RETURN_IF_ERROR(
        file->append(shard.data(), tensor.elements(), tensor.dtype));
  }
  return file->finish();
}

Status dump(Executor &executor, Dumped what, const std::string &directory) {
  for (const Parameters::Entry &entry : executor.parameters().entries()) {
    if (!entry.parameter->tiedTo.empty())
      continue;
    const Tensor &tensor =
        what == Dumped::weights ? entry.weight : entry.gradient;
    if (tensor.present())
      MOE_RETURN_IF_ERROR(dumpOne(executor, entry, tensor, directory));
  }
  return {};
}

Status dumpBatch(const plan::Plan &plan, const Dataset &data, int64_t step,
                 const std::string &directory) {
  const plan::Layout &layout = plan.layout;
  BatchShape batch{layout.microbatches, layout.expert * layout.data,
                   layout.microbatchSize};
  int64_t sequences = batch.sequencesPerStep();
  int64_t first = batch.firstSequence(step - 1, 0, 0);
  std::vector<int32_t> tokens(static_cast<size_t>(layout.sequenceLength));
  for (int64_t shift = 0; shift <= data.furthestShift(); ++shift) {
    Result<NpyWriter> file =
        NpyWriter::create(directory, tokenRole(shift), DType::i32,
                          {sequences, layout.sequenceLength});
    if (!file)
      return file.error();
    for (int64_t sequence = 0; sequence < sequences; ++sequence) {
      data.copySequence(first + sequence, shift, tokens);
      MOE_RETURN_IF_ERROR(
          file->append(tokens.data(), layout.sequenceLength, DType::i32));
    }
    MOE_RETURN_IF_ERROR(file->finish());
  }
  return {};
}

} // namespace moe::exec
