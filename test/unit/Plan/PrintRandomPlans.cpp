//===- PrintRandomPlans.cpp - plans for the test of the schema ------------===//
//
// Prints as many plans as its argument says, separated by a line with a NUL.
//
//===----------------------------------------------------------------------===//

#include "RandomPlan.h"

#include <cstdio>
#include <cstdlib>

int main(int argc, char **argv) {
  unsigned count = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1;
  for (unsigned seed = 0; seed < count; ++seed) {
    std::string text = moe::plan::print(moe::plan::makeRandomPlan(seed));
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\0', stdout);
  }
  return 0;
}
