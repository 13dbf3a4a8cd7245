//===- FuzzProfile.cpp - random bytes as a profile ------------------------===//

#include "compiler/Cost/Profile.h"

#include <cstdlib>

using namespace moe::cost;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  auto profile = parseProfile(
      std::string_view(reinterpret_cast<const char *>(data), size), "fuzz");
  if (!profile) {
    if (profile.error().message.empty())
      std::abort();
    return 0;
  }
  auto again = parseProfile(printProfile(*profile), "fuzz");
  if (!again || *again != *profile)
    std::abort();
  static const auto base = loadMachine("h100-sxm", machineDirectories());
  if (!base)
    std::abort();
  // Whatever it says it was measured on.
  Machine machine = *base;
  machine.name = profile->machine;
  auto calibrated = calibrate(machine, *profile);
  if (!calibrated) {
    if (calibrated.error().message.empty())
      std::abort();
    return 0;
  }
  if (machine.name.empty())
    return 0; // a description needs a name
  auto read = parseMachine(printMachine(*calibrated));
  if (!read || *read != *calibrated)
    std::abort();
  for (const ProfileEntry &entry : profile->entries)
    if (estimateNs(*calibrated, entry.work, entry.groupSize) < 0)
      std::abort();
  return 0;
}
