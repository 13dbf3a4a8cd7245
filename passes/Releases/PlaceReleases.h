//===- PlaceReleases.h - end storage after the last use ---------*- C++ -*-===//
#pragma once

#include "dialects/Pipe/IR/Pipe.h"

namespace moe {

/// What `--pipe-place-releases` does to a stage that holds no release yet.
void placeReleases(pipe::StageOp stage, bool overwrite = true);

} // namespace moe
