//===- BenchPacking.cpp - packing instances from CSV files ----------------===//
//
// bench_packing [--steps N] FILE|FOLDER...
//
// Packs each instance (CSV, `id,lower,upper,size`, half-open lifetimes: the
// format of google/minimalloc) and prints heights, bounds and CPU seconds.
// Figures and the command that produced them: docs/packing.md.
//
//===----------------------------------------------------------------------===//

#include "compiler/Optimize/Offsets.h"
#include "support/Files.h"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <sstream>

using namespace moe;
using namespace moe::optimize;

static Result<PackingProblem> readInstance(const std::string &path) {
  Result<std::string> text = readFile(path);
  if (!text)
    return text.error();
  PackingProblem problem;
  std::istringstream lines(*text);
  std::string line;
  std::getline(lines, line); // names of columns
  while (std::getline(lines, line)) {
    Buffer buffer;
    size_t at = line.find(',');
    for (int64_t *number : {&buffer.begin, &buffer.end, &buffer.size}) {
      const char *begin =
          line.data() + (at == std::string::npos ? line.size() : at + 1);
      auto [end, error] =
          std::from_chars(begin, line.data() + line.size(), *number);
      if (at == std::string::npos || error != std::errc())
        return Error{path + ": \"" + line + "\" is not id,lower,upper,size"};
      at = line.find(',', end - line.data());
    }
    problem.buffers.push_back(buffer);
  }
  MOE_RETURN_IF_ERROR(problem.check());
  return problem;
}

static int run(const std::vector<std::string> &files, int64_t steps) {
  double total = 0;
  std::printf("%-24s %8s %12s %12s %12s %9s  %s\n", "instance", "buffers",
              "bound", "greedy", "height", "CPU s", "by");
  for (const std::string &file : files) {
    Result<PackingProblem> problem = readInstance(file);
    if (!problem) {
      std::fprintf(stderr, "%s\n", problem.error().message.c_str());
      return 1;
    }
    int64_t greedy = pack(*problem).height;
    std::clock_t begin = std::clock();
    PackingSolution solution = pack(*problem, steps);
    double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    total += seconds;
    if (Status legal = verify(*problem, solution); !legal) {
      std::fprintf(stderr, "%s: %s\n", file.c_str(),
                   legal.error().message.c_str());
      return 1;
    }
    std::printf("%-24s %8zu %12" PRId64 " %12" PRId64 " %12" PRId64
                " %9.2f  %s\n",
                std::filesystem::path(file).filename().c_str(),
                problem->buffers.size(), solution.lowerBound, greedy,
                solution.height, seconds, std::string(solution.order).c_str());
  }
  std::printf("total %.2f CPU s\n", total);
  return 0;
}

int main(int argc, char **argv) {
  int64_t steps = 2'000'000;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument == "--steps" && i + 1 < argc) {
      std::string text = argv[++i];
      std::from_chars(text.data(), text.data() + text.size(), steps);
    } else if (std::filesystem::is_directory(argument)) {
      for (const auto &entry : std::filesystem::directory_iterator(argument))
        files.push_back(entry.path().string());
    } else {
      files.push_back(argument);
    }
  }
  if (files.empty()) {
    std::fprintf(stderr, "usage: bench_packing [--steps N] FILE|FOLDER...\n");
    return 2;
  }
  std::sort(files.begin(), files.end());
  return run(files, steps);
}
