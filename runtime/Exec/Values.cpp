#include "runtime/Exec/Values.h"

#include <algorithm>

namespace moe::exec {

using kernels::Tensor;

static size_t slotsOf(const plan::Stage &stage) {
  return std::max<size_t>(stage.slots.size(), 1);
}

Values::Values(const Binding &binding, Arena &device, Arena &host)
    : binding(binding), device(device), host(host) {
  for (const plan::Stage &stage : binding.plan().stages)
    states.emplace_back(stage.values.size() * slotsOf(stage));
}

const plan::Value &Values::value(const Instance &instance) const {
  return binding.plan()
      .stages[static_cast<size_t>(instance.stage)]
      .values[static_cast<size_t>(instance.value)];
}

size_t Values::index(const Instance &instance) const {
  const plan::Stage &stage =
      binding.plan().stages[static_cast<size_t>(instance.stage)];
  bool isFixed = value(instance).placement == plan::Placement::fixed;
  size_t slot = isFixed ? 0 : static_cast<size_t>(instance.slot);
  return static_cast<size_t>(instance.value) * slotsOf(stage) + slot;
}

Place Values::placeOf(const Instance &instance) const {
  const plan::Value &v = value(instance);
  const plan::Stage &stage =
      binding.plan().stages[static_cast<size_t>(instance.stage)];
  return {v.isOnHost() ? &host : &device,
          plan::placeOf(stage, v, instance.slot), v.bytes};
}

Error Values::error(const Instance &instance, const std::string &reason) const {
  return {"value '" + value(instance).name + "' " + reason};
}

Result<Tensor> Values::allocate(const Instance &instance) {
  const plan::Value &v = value(instance);
  Place place = placeOf(instance);
  Result<std::byte *> data =
      place.arena->allocate(place.offset, v.bytes, v.memoryClass, v.name);
  if (!data)
    return data.error();
  state(instance).live = true;
  Tensor tensor =
      binding.stage(instance.stage).values[static_cast<size_t>(instance.value)];
  tensor.data = *data;
  return tensor;
}

Result<Tensor> Values::takeOver(const Instance &instance) {
  Instance overwritten = instance;
  overwritten.value = value(instance).overwrites;
  Result<Place> place = releaseUnspoiled(overwritten);
  if (!place)
    return place.error();
  return allocate(instance);
}

Status Values::end(const Instance &instance) {
  State &s = state(instance);
  if (!s.live)
    return error(instance, "is released, but does not live");
  if (s.send.id >= 0)
    return error(instance, "is released while it is being sent");
  if (s.receive.id >= 0)
    return error(instance, "is released while it is being received");
  s.live = false;
  return {};
}

Status Values::release(const Instance &instance) {
  MOE_RETURN_IF_ERROR(end(instance));
  Place place = placeOf(instance);
  return place.arena->release(place.offset);
}

Result<Place> Values::releaseUnspoiled(const Instance &instance) {
  MOE_RETURN_IF_ERROR(end(instance));
  Place place = placeOf(instance);
  MOE_RETURN_IF_ERROR(place.arena->releaseUnspoiled(place.offset));
  return place;
}

Result<Tensor> Values::get(const Instance &instance) const {
  if (!state(instance).live)
    return error(instance, "is read, but does not live");
  if (state(instance).receive.id >= 0)
    return error(instance, "is read while it is being received");
  Tensor tensor =
      binding.stage(instance.stage).values[static_cast<size_t>(instance.value)];
  Place place = placeOf(instance);
  tensor.data = place.arena->at(place.offset);
  return tensor;
}

Status Values::setSend(const Instance &instance, comm::SendHandle send) {
  if (state(instance).send.id >= 0)
    return error(instance, "is sent twice");
  state(instance).send = send;
  return {};
}

Result<comm::SendHandle> Values::takeSend(const Instance &instance) {
  comm::SendHandle send = state(instance).send;
  if (send.id < 0)
    return error(instance, "is waited for, but was not sent");
  state(instance).send = {};
  return send;
}

std::optional<comm::ReceiveHandle>
Values::takeReceive(const Instance &instance) {
  comm::ReceiveHandle receive = state(instance).receive;
  if (receive.id < 0)
    return std::nullopt;
  state(instance).receive = {};
  return receive;
}

} // namespace moe::exec
