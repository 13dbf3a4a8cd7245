// Finding and reading machine descriptions on disk.
#include "compiler/Cost/Machine.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace moe::cost {

namespace fs = std::filesystem;

namespace {

Result<std::string> readFile(const fs::path &path) {
  std::error_code code;
  if (!fs::is_regular_file(path, code))
    return Error{"machine description: no file '" + path.string() + "'"};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file)
    return Error{"machine description: cannot read '" + path.string() + "'"};
  return text.str();
}

Result<Machine> parseFile(const fs::path &path) {
  Result<std::string> text = readFile(path);
  if (!text)
    return text.error();
  Result<Machine> machine = parseMachine(*text);
  if (!machine)
    return Error{path.string() + ": " + machine.error().message};
  return machine;
}

std::string join(const std::vector<std::string> &items) {
  std::string text;
  for (const std::string &item : items)
    text += (text.empty() ? "" : ", ") + item;
  return text;
}

} // namespace

Result<Machine> loadMachine(const std::string &nameOrPath,
                            const std::vector<std::string> &directories) {
  if (nameOrPath.find('/') != std::string::npos ||
      nameOrPath.ends_with(".json"))
    return parseFile(nameOrPath);

  std::error_code code;
  std::set<std::string> names;
  for (const std::string &directory : directories) {
    fs::path candidate = fs::path(directory) / (nameOrPath + ".json");
    if (fs::is_regular_file(candidate, code))
      return parseFile(candidate);
    for (fs::directory_iterator it(directory, code), end; !code && it != end;
         it.increment(code))
      if (it->path().extension() == ".json")
        names.insert(it->path().stem().string());
  }
  std::string message = "unknown machine '" + nameOrPath + "'; ";
  if (names.empty())
    message += "no descriptions found in: " + join(directories) +
               "; set MOE_MACHINES to the directory that holds them";
  else
    message +=
        "known: " + join(std::vector<std::string>(names.begin(), names.end())) +
        "; or give the path of a description (docs/machines.md)";
  return Error{message};
}

std::vector<std::string> machineDirectories() {
  std::vector<std::string> directories;
  if (const char *variable = std::getenv("MOE_MACHINES")) {
    std::istringstream list(variable);
    for (std::string directory; std::getline(list, directory, ':');)
      if (!directory.empty())
        directories.push_back(directory);
  }
  std::error_code code;
  fs::path executable = fs::read_symlink("/proc/self/exe", code);
  if (!code) {
    fs::path beside = executable.parent_path();
    directories.push_back((beside / "../machines").lexically_normal());
    directories.push_back(
        (beside / "../share/moe/machines").lexically_normal());
  }
#ifdef MOE_MACHINE_DIRECTORY
  directories.push_back(MOE_MACHINE_DIRECTORY);
#endif
  return directories;
}

} // namespace moe::cost
