//===- InputFiles.h - what moe-plan reads -----------------------*- C++ -*-===//
#pragma once

#include "driver/Driver.h"
#include "support/Files.h"

#include <string>
#include <vector>

namespace moe {

/// The files that a plan is made from, which no output may replace. Options
/// that take a name as well (--machine, --schedule) are listed with it: nothing
/// is lost where no file is called so. The list refers to its arguments.
inline std::vector<NamedFile> inputFilesOf(const driver::PlanRequest &request,
                                           const std::string &config) {
  return {{"--config", config},
          {"--model", request.modelPath},
          {"--machine", request.machine},
          {"--profile", request.profile},
          {"--schedule", request.schedule}};
}

} // namespace moe
