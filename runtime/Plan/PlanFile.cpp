//===- PlanFile.cpp - plans as files --------------------------------------===//

#include "runtime/Plan/Plan.h"

#include "support/Files.h"

namespace moe::plan {

Result<Plan> read(const std::string &path) {
  Result<std::string> text = readFile(path);
  if (!text)
    return text.error();
  Result<Plan> plan = parse(*text);
  if (!plan)
    return Error{path + ": " + plan.error().message};
  return plan;
}

Status write(const Plan &plan, const std::string &path) {
  return writeFile(path, print(plan));
}

} // namespace moe::plan
