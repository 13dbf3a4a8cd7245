//===- ConfigFile.cpp - options from a file -------------------------------===//

#include "tools/moe-plan/ConfigFile.h"

#include "support/Result.h"

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <utility>

namespace moe {

namespace {

/// One `key = value`.
struct Entry {
  std::string section, key; ///< no section: empty
  std::vector<std::string> values;
  size_t line = 0;

  std::string name() const {
    return section.empty() ? key : section + "." + key;
  }
};

/// A value as the command line would have it.
Result<std::string> textOf(const toml::node &value) {
  if (const auto *text = value.as_string())
    return text->get();
  if (const auto *number = value.as_integer())
    return std::to_string(number->get());
  if (const auto *isOn = value.as_boolean())
    return std::string(isOn->get() ? "true" : "false");
  if (const auto *number = value.as_floating_point()) {
    std::array<char, 64> digits;
    const auto written = std::to_chars(
        digits.data(), digits.data() + digits.size(), number->get());
    return std::string(digits.data(), written.ptr);
  }
  return Error{"takes a text, a number, true or false, or a list of such"};
}

/// The entries of a table, and of those in it. An error begins with the line.
Status addEntries(const toml::table &table, const std::string &section,
                  std::vector<Entry> &entries) {
  for (const auto &[key, value] : table) {
    Entry entry{section, std::string(key.str()), {}, key.source().begin.line};
    if (const toml::table *inner = value.as_table(); inner) {
      MOE_RETURN_IF_ERROR(addEntries(*inner, entry.name(), entries));
      continue;
    }
    auto add = [&](const toml::node &each) -> Status {
      Result<std::string> text = textOf(each);
      if (!text)
        return Error{std::to_string(entry.line) + ": " + entry.name() + ": " +
                     text.error().message};
      entry.values.push_back(std::move(*text));
      return {};
    };
    if (const toml::array *list = value.as_array()) {
      for (const toml::node &each : *list)
        MOE_RETURN_IF_ERROR(add(each));
      if (list->empty())
        return Error{std::to_string(entry.line) + ": " + entry.name() +
                     ": the list is empty"};
    } else {
      MOE_RETURN_IF_ERROR(add(value));
    }
    entries.push_back(std::move(entry));
  }
  return {};
}

/// What the file says, in its order. An error begins with the line, and has no
/// name of the file.
Result<std::vector<Entry>> readEntries(std::istream &input) {
  std::vector<Entry> entries;
  try {
    MOE_RETURN_IF_ERROR(addEntries(toml::parse(input), "", entries));
  } catch (const toml::parse_error &error) {
    return Error{std::to_string(error.source().begin.line) +
                 ": is no TOML: " + std::string(error.description())};
  }
  std::sort(entries.begin(), entries.end(), [](const Entry &a, const Entry &b) {
    return std::pair(a.line, a.name()) < std::pair(b.line, b.name());
  });
  return entries;
}

/// The subcommand called `name`, or null.
CLI::App *findCommand(CLI::App &app, const std::string &name) {
  for (CLI::App *command : app.get_subcommands({}))
    if (command->get_name() == name)
      return command;
  return nullptr;
}

/// The option that an entry is about.
Result<CLI::Option *> optionOf(CLI::App &app, const Entry &entry) {
  CLI::App *command = &app;
  if (!entry.section.empty()) {
    command = findCommand(app, entry.section);
    if (!command)
      return Error{entry.name() + ": there is no command " + entry.section};
    if (!command->parsed())
      return Error{entry.name() + ": is for moe-plan " + entry.section +
                   ", which is not what runs"};
  }
  CLI::Option *option = command->get_option_no_throw("--" + entry.key);
  if (!option && entry.key.size() == 1)
    option = command->get_option_no_throw("-" + entry.key);
  if (!option)
    return Error{entry.name() + ": unknown option; moe-plan " +
                 (entry.section.empty() ? "" : entry.section + " ") +
                 "--help lists those that there are"};
  if (!option->get_configurable())
    return Error{entry.name() + ": is for the command line only"};
  return option;
}

/// Gives the option its values, unless the command line did. Throws what CLI11
/// finds wrong with them.
void apply(CLI::Option &option, const Entry &entry) {
  if (!option.empty())
    return;
  const bool isFlag = option.get_expected_min() == 0;
  if (isFlag && entry.values.size() > 1)
    throw CLI::ArgumentMismatch(entry.name() + ": takes one value");
  if (isFlag)
    option.add_result(option.get_flag_value(entry.key, entry.values.front()));
  else
    option.add_result(entry.values);
  option.run_callback();
}

} // namespace

std::vector<CLI::ConfigItem>
ConfigFile::from_config(std::istream &input) const {
  const std::string place =
      "--config: " + app.get_config_ptr()->as<std::string>() + ":";
  Result<std::vector<Entry>> entries = readEntries(input);
  if (!entries)
    throw CLI::ConfigError(place + entries.error().message);

  std::map<const CLI::Option *, size_t> lines;
  for (const Entry &entry : *entries) {
    const std::string at = place + std::to_string(entry.line) + ": ";
    Result<CLI::Option *> option = optionOf(app, entry);
    if (!option)
      throw CLI::ConfigError(at + option.error().message);
    auto [known, isNew] = lines.emplace(*option, entry.line);
    if (!isNew)
      throw CLI::ConfigError(at + entry.name() + ": is given twice, first in " +
                             "line " + std::to_string(known->second));
    try {
      apply(**option, entry);
    } catch (const CLI::ParseError &error) {
      throw CLI::ConfigError(at + error.what());
    }
  }
  return {}; // nothing is left for CLI11 to do
}

} // namespace moe
